// Walks from an image's top manifest to its blobs, and collects the wanted ones that the archive contains.

internal import OCI

struct SelectionWalk {
    let archive: ImageArchive
    let platforms: PlatformChoice

    /// Manifests, each after the manifests it lists.
    private(set) var manifests: [ArchivedManifest] = []
    private(set) var blobs: [Descriptor] = []
    /// Platforms in the archive that are not wanted.
    private(set) var refused: [Platform] = []
    /// Whether a runnable image's manifest was found.
    private(set) var hasImage = false
    /// Whether no index listed any manifest, which is legal.
    private(set) var isEmptyIndex = true

    private var visited: Set<Digest> = []
    private var seenBlobs: Set<Digest> = []

    init(archive: ImageArchive, platforms: PlatformChoice) {
        self.archive = archive
        self.platforms = platforms
    }

    /// Collects a manifest and its parts. `LayoutImages` has bounded the depth.
    mutating func visit(_ digest: Digest) throws(ArchiveError) {
        guard visited.insert(digest).inserted else { return }
        guard let manifest = archive.manifests[digest] else {
            throw ArchiveError(archive.path, entry: EntryName.blob(digest), .missing)
        }
        for blob in manifest.blobs { try take(blob) }
        if manifest.mediaType.isIndex {
            if !manifest.children.isEmpty { isEmptyIndex = false }
            try visitChildren(manifest.children)
        } else {
            hasImage = true
        }
        manifests.append(manifest)
    }

    /// Visits images first: an attestation is taken only with the image it describes.
    private mutating func visitChildren(_ children: [ArchivedManifest.Child]) throws(ArchiveError) {
        let present = children.filter { archive.manifests[$0.digest] != nil }
        for child in present where child.platform?.isUnknown != true {
            if platforms.accepts(child.platform) {
                try visit(child.digest)
            } else if let platform = child.platform, !refused.contains(platform) {
                refused.append(platform)
            }
        }
        for child in present where child.platform?.isUnknown == true {
            if platforms == .all || child.subject.map({ visited.contains($0) }) == true { try visit(child.digest) }
        }
    }

    private mutating func take(_ blob: Descriptor) throws(ArchiveError) {
        guard seenBlobs.insert(blob.digest).inserted else { return }
        guard let file = archive.file(blob.digest) else {
            // Foreign layers are downloaded from elsewhere and not redistributed.
            if !blob.urls.isEmpty { return }
            throw ArchiveError(archive.path, entry: EntryName.blob(blob.digest), .missing)
        }
        guard let sizeBytes = blob.sizeBytes else {
            throw ArchiveError(archive.path, entry: file.name, .badDocument(ArchiveError.noSize))
        }
        guard file.sizeBytes == sizeBytes else {
            throw ArchiveError(
                archive.path, entry: file.name, .wrongSize(expected: sizeBytes, found: file.sizeBytes))
        }
        blobs.append(blob)
    }
}
