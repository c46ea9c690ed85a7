// A libarchive reader, shared by its two uses: tarballs, and single compressed layers.
//
// Source: archive_read(3), archive_read_filter(3), archive_read_data(3).

internal import CArchive

/// Owns a `struct archive` for reading.
final class ReadArchive {
    let pointer: OpaquePointer

    /// Prepares for gzip, zstd and uncompressed input, detected by content. The caller adds formats.
    init() {
        // Fails only when memory runs out, which Swift does not survive elsewhere either.
        guard let pointer = archive_read_new() else { preconditionFailure("archive_read_new: out of memory") }
        self.pointer = pointer
        // Without its compression library libarchive would run an external program: such a filter is left out, and
        // content that needs it is refused as unknown.
        if archive_zlib_version() != nil { archive_read_support_filter_gzip(pointer) }
        if archive_libzstd_version() != nil { archive_read_support_filter_zstd(pointer) }
    }

    deinit { archive_read_free(pointer) }

    /// libarchive's text for its last error.
    var message: String { archive_error_string(pointer).map { String(cString: $0) } ?? "no reason given" }

    /// Whether the input is compressed; known after the first header has been read.
    var isCompressed: Bool { archive_filter_count(pointer) > 1 }

    /// Whether compressed content is compressed again, which serves only to multiply the decompressed size.
    var isCompressedTwice: Bool { archive_filter_count(pointer) > 2 }

    /// Bytes decompressed so far.
    var uncompressedBytes: Int64 { archive_filter_bytes(pointer, 0) }

    enum Block {
        case bytes(UnsafeRawBufferPointer, offset: Int64)
        case end
        case failed
    }

    /// The next block of the current entry, in libarchive's memory: valid until the next call.
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
