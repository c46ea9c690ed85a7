// What an archive holds, as values: manifests with their bytes, and images that begin at one of them.

package import OCI

/// A manifest or index of an archive.
package struct ArchivedManifest: Sendable {
    /// An index's entry.
    package struct Child: Sendable {
        package let digest: Digest
        package let platform: Platform?
        /// Of an attestation: the manifest that it is about.
        package let subject: Digest?
    }

    package let digest: Digest
    package let mediaType: MediaType
    package let bytes: [UInt8]
    /// Config and layers; empty for an index.
    package let blobs: [Descriptor]
    /// What an index lists, in its order; some of it may not be in the archive.
    package let children: [Child]
    /// Made here, because the archive has none (docker-save). Its digest is not the one that a registry knows.
    package let isMade: Bool
}

/// An image of an archive.
package struct ArchivedImage: Sendable {
    /// Whole names, such as `docker.io/library/alpine:3.20`; none when the archive gives none.
    package let names: [ImageName]
    /// What the archive calls it where that is not a whole name, such as umoci's `latest`.
    package let label: String?
    /// The manifest or index that a tag of it means: a key of `ImageArchive.manifests`.
    package let top: Digest
    /// What the entry in `index.json` says it runs on.
    package let platform: Platform?
}

/// What there is to store of an image for the platforms wanted.
package struct ImageSelection: Sendable {
    package let image: ArchivedImage
    /// Manifests to store, each after those it lists; the last is the top one.
    package let manifests: [ArchivedManifest]
    /// Their configs and layers, each once. All are in the archive.
    package let blobs: [Descriptor]
}
