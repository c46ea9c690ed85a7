// Limits on the resources that reading an archive may use. No image made for use reaches them.

internal import OCI

/// Limits on reading one archive. Tests set smaller ones.
package struct ArchiveLimits: Sendable {
    /// Entries: a thousand images of two hundred layers each. All names and sizes stay in memory while it is read.
    package var entries = 200_000
    /// Length of a name in bytes: Linux's PATH_MAX.
    package var nameBytes = 4096
    /// Size of one decoded document (`index.json`, `manifest.json`, an image's config): the limit of a manifest.
    package var documentBytes = Manifest.maximumSizeBytes
    /// Size of all documents kept in memory for one archive; more is an error.
    package var documentsBytes = 64 * 1024 * 1024
    /// Nesting depth of braces and brackets; an image index with annotations has four.
    package var documentDepth = 32
    /// Images in one archive.
    package var images = 10_000
    /// Nesting depth of indexes: an image, its index, and indexes around those.
    package var indexDepth = 8
    /// How many times its own size an archive may grow to by decompression. Text layers reach twenty; gzip's limit is
    /// 1032, zstd has none.
    package var expansion: Int64 = 200
    /// Size to which any archive may grow, however small: a layer of zeros is legal.
    package var freeExpansionBytes: Int64 = 1024 * 1024 * 1024

    package init() {}

    /// Most bytes that may be decompressed from a file of this size.
    func uncompressedBytes(of fileBytes: Int64) -> Int64 {
        let (product, overflow) = fileBytes.multipliedReportingOverflow(by: expansion)
        return max(overflow ? .max : product, freeExpansionBytes)
    }
}
