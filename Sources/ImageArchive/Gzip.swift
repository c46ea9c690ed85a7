// Compresses bytes to gzip (RFC 1952) by libarchive, which is linked for archives anyway.

internal import CArchive
internal import Glibc

package enum Gzip {
    /// The bytes as one gzip member, without a time or a name, so that equal bytes give equal members. Compressing 100
    /// KB blocks for about 1 ms, so it runs in the pool.
    ///
    /// Source: archive_write_format(3) for the raw format, archive_write_filter(3) for the filter.
    /// - Returns: nil when libarchive was built without zlib: it would run the `gzip` program instead.
    package static func member(of bytes: [UInt8]) -> [UInt8]? {
        // Both fail only when memory runs out, which Swift does not survive elsewhere either.
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
        // Deflate stores incompressible data in blocks with 5 bytes of overhead; a member's head and tail take 18
        // bytes.
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
                // Without this, freeing the archive would write its end.
                archive_write_fail(archive)
                used.pointee = 0
            }
        }
        return member.isEmpty ? nil : member
    }
}
