// Images as operators see them: names, and the content behind them.

package import OCI

/// One name of one cached manifest.
package struct CachedImage: Sendable, Equatable {
    /// A config or layer of an image.
    package struct Blob: Sendable, Equatable {
        package let digest: Digest
        /// The size in the manifest; nil if that is not a valid size (`Descriptor.sizeBytes`).
        package let sizeBytes: Int64?
        package let isCached: Bool
        /// Whether the image's repository has a proof for the blob; nil if the index of proofs was not read.
        package var isProven: Bool?
    }

    package let host: RegistryHost
    package let repository: RepositoryName
    package let reference: Reference
    package let digest: Digest
    package let mediaType: MediaType
    /// When the name was added to the cache, in seconds since 1970.
    package var createdSeconds: Int64
    /// When the manifest was last served; if it never was, when it was added.
    package var pulledSeconds: Int64
    package let manifestBytes: Int64
    /// Config and layers. Of an index, the entries that are no manifests: a build cache has layers there.
    package var blobs: [Blob]
    /// Whether the manifest may be served in this repository; nil if that was not read.
    package var isProven: Bool?

    /// `docker.io/library/debian:12`, `docker.io/library/debian@sha256:…`
    package var name: String {
        switch reference {
        case .tag(let tag): "\(host)/\(repository):\(tag)"
        case .digest(let digest): "\(host)/\(repository)@\(digest)"
        }
    }

    /// The total size of config and layers, as far as the manifest states sizes; nil for an index of manifests.
    package var sizeBytes: Int64? {
        mediaType.isIndex && blobs.isEmpty ? nil : blobs.saturatedSum { $0.sizeBytes ?? 0 }
    }
}

/// A cached blob as operators see it.
package struct BlobEntry: Sendable, Equatable {
    package let digest: Digest
    package let sizeBytes: Int64
    /// When the blob was stored, in seconds since 1970.
    package let createdSeconds: Int64
    /// When the blob, or a manifest that names it, was last served; if none ever was, when it was stored.
    package let usedSeconds: Int64
    /// Number of cached manifests that name the blob.
    package let referenceCount: Int
}

/// The result of a prune.
package struct PruneReport: Sendable {
    /// Names that were removed, or in a dry run would be.
    package var images: [CachedImage] = []
    /// Selected names that stay: in use, or part of an index that stays.
    package var skipped: [CachedImage] = []
    /// Removed blobs that no manifest names.
    package var orphans: [BlobEntry] = []
    /// Number of removed blobs of both kinds.
    package var blobCount = 0
    package var freedBytes: Int64 = 0
    package var isDryRun = false

    package init() {}
}
