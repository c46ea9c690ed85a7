// Bytes as gzip (RFC 1952), by the library that reads and writes archives anyway.

internal import CArchive
internal import Glibc

package enum Gzip {
    /// The bytes as one gzip member, without a time or a name, so that equal bytes give equal members. Blocks for as
    /// long as compressing takes, about 1 ms for 100 KB: for the pool.
    ///
    /// Source: archive_write_format(3) for the raw format, archive_write_filter(3) for the filter.
    /// - Returns: nil where libarchive was built without zlib. It would start the `gzip` program instead.
    package static func member(of bytes: [UInt8]) -> [UInt8]? {
        // Both fail only when memory is out, which Swift does not survive anywhere else either.
        guard let archive = archive_write_new(), let entry = archive_entry_new() else {
            preconditionFailure("archive_write_new: out of memory")
        }
        defer {
            archive_entry_free(entry)
            archive_write_free(archive)
        }
        archive_entry_set_filetype(entry, Glibc.S_IFREG)
        guard archive_write_set_format_raw(archive) == ARCHIVE_OK,
            archive_write_add_filter_gzip(archive) == ARCHIVE_OK,
            archive_write_set_filter_option(archive, "gzip", "timestamp", nil) == ARCHIVE_OK
        else { return nil }
        // Deflate stores what it cannot compress, with 5 bytes for each block of it; head and tail of a member are 18.
        let capacity = bytes.count + bytes.count / 1000 + 64
        let member = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
            // libarchive keeps both pointers until the archive is closed.
            withUnsafeMutablePointer(to: &count) { used in
                let isWritten =
                    archive_write_open_memory(archive, buffer.baseAddress, capacity, used) == ARCHIVE_OK
                    && archive_write_header(archive, entry) == ARCHIVE_OK
                    && archive_write_data(archive, bytes, bytes.count) == bytes.count
                    && archive_write_close(archive) == ARCHIVE_OK
                guard !isWritten else { return }
                // Else freeing it would write its end.
                archive_write_fail(archive)
                used.pointee = 0
            }
        }
        return member.isEmpty ? nil : member
    }
}
