// A libarchive reader: what two uses of it (tarballs, and single compressed layers) have in common.
//
// Source: archive_read(3), archive_read_filter(3), archive_read_data(3).

internal import CArchive

/// Owns a `struct archive` that reads.
final class ReadArchive {
    let pointer: OpaquePointer

    /// Prepares for gzip, zstd and no compression at all, distinguished by content. Formats are the caller's to add.
    init() {
        // Fails only when memory is out, which Swift does not survive anywhere else either.
        guard let pointer = archive_read_new() else { preconditionFailure("archive_read_new: out of memory") }
        self.pointer = pointer
        // Where libarchive was built without a library it would run a program instead: such a filter is left out, and
        // what is compressed so is refused as unknown.
        if archive_zlib_version() != nil { archive_read_support_filter_gzip(pointer) }
        if archive_libzstd_version() != nil { archive_read_support_filter_zstd(pointer) }
    }

    deinit { archive_read_free(pointer) }

    /// libarchive's own words for what went wrong last.
    var message: String { archive_error_string(pointer).map { String(cString: $0) } ?? "no reason given" }

    /// Whether anything is compressed; known once the first header was read.
    var isCompressed: Bool { archive_filter_count(pointer) > 1 }

    /// Compressed content in compressed content: nobody makes such a thing but to multiply what comes out.
    var isCompressedTwice: Bool { archive_filter_count(pointer) > 2 }

    /// Bytes that have come out of decompression.
    var uncompressedBytes: Int64 { archive_filter_bytes(pointer, 0) }

    enum Block {
        case bytes(UnsafeRawBufferPointer, offset: Int64)
        case end
        case failed
    }

    /// The next block of the current entry, in libarchive's own memory: valid until the next call.
    func block() -> Block {
        var start: UnsafeRawPointer?
        var count = 0
        var offset: Int64 = 0
        switch archive_read_data_block(pointer, &start, &count, &offset) {
        case ARCHIVE_OK, ARCHIVE_WARN: return .bytes(UnsafeRawBufferPointer(start: start, count: count), offset: offset)
        case ARCHIVE_EOF: return .end
        default: return .failed
        }
    }
}
