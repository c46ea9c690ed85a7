// How much an archive may ask of this machine. Nothing here is ever met by an image that somebody made to use it.

internal import OCI

/// Bounds on reading one archive. Tests make them small.
package struct ArchiveLimits: Sendable {
    /// Entries: a thousand images of two hundred layers each. Names and sizes of all are kept while it is read.
    package var entries = 200_000
    /// A name's bytes: Linux's own PATH_MAX.
    package var nameBytes = 4096
    /// One document that is decoded (`index.json`, `manifest.json`, an image's config): as for a manifest.
    package var documentBytes = Manifest.maximumSizeBytes
    /// Documents kept in memory for one archive; the next ones are an error.
    package var documentsBytes = 64 * 1024 * 1024
    /// Braces and brackets inside one another; an image index with annotations has four.
    package var documentDepth = 32
    /// Images in one archive.
    package var images = 10_000
    /// Indexes inside one another: an image, its index, and what may be put around those.
    package var indexDepth = 8
    /// How many times its own size an archive may grow to when it is decompressed. Layers of text reach twenty; gzip's
    /// own end is 1032, zstd has none.
    package var expansion: Int64 = 200
    /// What any archive may grow to, however small: a layer of zeros is legal.
    package var freeExpansionBytes: Int64 = 1024 * 1024 * 1024

    package init() {}

    /// Most bytes that may come out of a file of this size.
    func uncompressedBytes(of fileBytes: Int64) -> Int64 {
        let (product, overflow) = fileBytes.multipliedReportingOverflow(by: expansion)
        return max(overflow ? .max : product, freeExpansionBytes)
    }
}
