// Images as an operator sees them: names, and what is behind them.

package import OCI

/// One name of one cached manifest.
package struct CachedImage: Sendable, Equatable {
    /// A config or layer of it.
    package struct Blob: Sendable, Equatable {
        package let digest: Digest
        /// What the manifest states; nil where that is no size (`Descriptor.sizeBytes`).
        package let sizeBytes: Int64?
        package let isCached: Bool
    }

    package let host: RegistryHost
    package let repository: RepositoryName
    package let reference: Reference
    package let digest: Digest
    package let mediaType: MediaType
    /// When the name came into the cache, in seconds since 1970.
    package let createdSeconds: Int64
    /// When the manifest was last served; when it came, if it never was.
    package let pulledSeconds: Int64
    package let manifestBytes: Int64
    /// Config and layers; an index has none of its own.
    package let blobs: [Blob]

    /// `docker.io/library/debian:12`, `docker.io/library/debian@sha256:…`
    package var name: String {
        switch reference {
        case .tag(let tag): "\(host)/\(repository):\(tag)"
        case .digest(let digest): "\(host)/\(repository)@\(digest)"
        }
    }

    /// Config and layers together, as far as the manifest states their sizes; nil for an index.
    package var sizeBytes: Int64? {
        mediaType.isIndex ? nil : blobs.saturatedSum { $0.sizeBytes ?? 0 }
    }
}

/// What a prune came to.
package struct PruneReport: Sendable {
    /// Names that went, or would go.
    package var images: [CachedImage] = []
    /// Names that were picked and stay: in use, or part of an index that stays.
    package var skipped: [CachedImage] = []
    package var blobCount = 0
    package var freedBytes: Int64 = 0
    package var isDryRun = false

    package init() {}
}
