// The contents of an archive as values: manifests with their bytes, and images that start at one of them.

package import OCI

/// A manifest or index of an archive.
package struct ArchivedManifest: Sendable {
    /// An entry of an index.
    package struct Child: Sendable {
        package let digest: Digest
        package let platform: Platform?
        /// The manifest that an attestation describes; nil for anything else.
        package let subject: Digest?
    }

    package let digest: Digest
    package let mediaType: MediaType
    package let bytes: [UInt8]
    /// Config and layers; empty for an index.
    package let blobs: [Descriptor]
    /// The entries of an index, in its order; some may not be in the archive.
    package let children: [Child]
    /// The manifest that this one is a referrer of; nil without one.
    package var subject: Digest?
    /// Whether it was created here because the archive has none (docker-save). Its digest is not the registry's.
    package let isMade: Bool
}

/// An image of an archive.
package struct ArchivedImage: Sendable {
    /// Complete names, such as `docker.io/library/alpine:3.20`; empty when the archive has none.
    package let names: [ImageName]
    /// The archive's name for the image when it is not a complete name, such as umoci's `latest`.
    package let label: String?
    /// The manifest or index of the image's tags: a key of `ImageArchive.manifests`.
    package let top: Digest
    /// The platform stated by the entry in `index.json`.
    package let platform: Platform?
    /// The top manifest of the archive's image that this one without a name is a referrer of, such as a signature: it
    /// belongs to the repositories of that image. Nil for any other.
    package var referrerOf: Digest?
}

/// The parts of an image to store for the wanted platforms.
package struct ImageSelection: Sendable {
    package let image: ArchivedImage
    /// Manifests to store, each after the manifests it lists; the last is the top one.
    package let manifests: [ArchivedManifest]
    /// Their configs and layers, each once. All are in the archive.
    package let blobs: [Descriptor]
}
