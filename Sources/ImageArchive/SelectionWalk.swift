// The way from an image's top manifest down to its blobs, taking what is wanted and here.

internal import OCI

struct SelectionWalk {
    let archive: ImageArchive
    let platforms: PlatformChoice

    /// Children before those that list them.
    private(set) var manifests: [ArchivedManifest] = []
    private(set) var blobs: [Descriptor] = []
    /// Platforms that are here and not wanted.
    private(set) var refused: [Platform] = []
    /// Whether there is a manifest of something to run.
    private(set) var hasImage = false
    /// Whether nothing was listed at all, which is legal.
    private(set) var isEmptyIndex = true

    private var visited: Set<Digest> = []
    private var seenBlobs: Set<Digest> = []

    init(archive: ImageArchive, platforms: PlatformChoice) {
        self.archive = archive
        self.platforms = platforms
    }

    /// Depth is bounded by what `LayoutImages` reads.
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

    /// Images first: attestations follow those that they are about.
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
            // Foreign layers are to be had elsewhere, and are not redistributed.
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
