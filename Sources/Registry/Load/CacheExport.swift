// Exports chosen images from a cache to an OCI layout, with all their complete platforms. It only reads files that
// never change under their names, so it needs no lock and may run beside a server; content that the server prunes
// meanwhile is an error, and then nothing is written.

package import Configuration
package import ImageArchive
package import OCI

/// The content to export, found in a cache directory. Blocks as long as reading all manifests takes.
package struct CacheExport: Sendable {
    /// The images to export.
    package enum Choice: Sendable {
        /// Images whose names (`docker.io/library/debian:12`) match a pattern.
        case matching(Pattern)
        /// The named images.
        case named([ImageName])
    }

    /// Images that will be written.
    package let names: [String]
    /// Why other chosen images cannot be written, one line each.
    package let problems: [String]
    /// Bytes of blobs to copy.
    package let blobBytes: Int64
    private let writer: ImageLayoutWriter

    /// - Throws: when a pattern reaches its limits, or the cache cannot be read.
    package init(imagePath: String, _ choice: Choice) throws {
        let layout = Layout(imagePath: imagePath)
        let scan = try ImageScan(layout)
        var parts = ExportParts(scan: scan, layout: layout)
        var images: [LayoutImage] = []
        var problems: [String] = []
        let referrers = ReferrerNames(scan)
        var waiting = try CacheExport.chosen(choice, scan, &problems)
        let chosenCount = waiting.count
        var seen = Set(waiting.map(\.0))
        var next = 0
        while next < waiting.count {
            let (name, digest) = waiting[next]
            next += 1
            if let reason = parts.take(digest) {
                // Referrers come along when they are whole; nobody has named them.
                if next <= chosenCount { problems.append("\(name): \(reason)") }
            } else {
                images.append(LayoutImage(name: name, top: digest))
                for found in referrers.names(of: digest, in: name, scan) where seen.insert(found.0).inserted {
                    waiting.append(found)
                }
            }
        }
        names = images.map { "\($0.name)" }.sorted()
        self.problems = problems
        let blobs = Array(parts.blobs.values)
        blobBytes = blobs.saturatedSum(\.sizeBytes)
        writer = ImageLayoutWriter(images: images, manifests: Array(parts.manifests.values), blobs: blobs)
    }

    /// Writes the layout to a path that does not exist: a tarball when it ends in `.tar`, otherwise a directory. May
    /// block.
    /// - Parameter progress: called with the number of bytes of each copied piece.
    package func write(to path: String, progress: (Int) -> Void) throws(ArchiveError) {
        try writer.write(to: path, path.hasSuffix(".tar") ? .tar : .directory, progress: progress)
    }

    private static func chosen(
        _ choice: Choice, _ scan: ImageScan, _ problems: inout [String]
    ) throws -> [(ImageName, Digest)] {
        var known: [ImageName: Digest] = [:]
        for name in scan.names { known[ImageName(name)] = name.digest }
        switch choice {
        case .matching(let pattern):
            return try known.filter { try pattern.matches("\($0.key)") }.sorted { "\($0.key)" < "\($1.key)" }
                .map { ($0.key, $0.value) }
        case .named(let names):
            return names.compactMap { name in
                // A digest selects the content; a tag beside it is only informative.
                let wanted = ImageName(host: name.host, repository: name.repository, reference: name.reference)
                if let digest = known[wanted] { return (wanted, digest) }
                problems.append("\(wanted): is not in the cache")
                return nil
            }
        }
    }
}

/// The names of the referrers in a cache: manifests with a subject, and the tags that clients keep them under.
private struct ReferrerNames {
    private struct Key: Hashable {
        let host: RegistryHost
        let repository: RepositoryName
        let subject: Digest
    }

    private var bySubject: [Key: [(ImageName, Digest)]] = [:]
    private var tags: [ImageName: Digest] = [:]

    init(_ scan: ImageScan) {
        for image in scan.images(DigestMap()) {
            let name = ImageName(host: image.host, repository: image.repository, reference: image.reference)
            if case .tag(let tag) = image.reference, tag.contains("-") { tags[name] = image.digest }
            if let subject = scan.manifests[image.digest]?.subject {
                let key = Key(host: image.host, repository: image.repository, subject: subject)
                bySubject[key, default: []].append((name, image.digest))
            }
        }
    }

    /// The referrers of an image and of its platforms, in its repository.
    func names(of digest: Digest, in name: ImageName, _ scan: ImageScan) -> [(ImageName, Digest)] {
        ([digest] + (scan.manifests[digest]?.children ?? [])).flatMap { subject in
            let key = Key(host: name.host, repository: name.repository, subject: subject)
            return bySubject[key, default: []]
                + ReferrersIndex.tags(of: subject).compactMap { tag in
                    let tagged = ImageName(host: name.host, repository: name.repository, tag: tag)
                    return tags[tagged].map { (tagged, $0) }
                }
        }
    }
}

/// The manifests and blobs collected so far.
private struct ExportParts {
    let scan: ImageScan
    let layout: Layout
    var manifests: [Digest: LayoutManifest] = [:]
    var blobs: [Digest: LayoutBlob] = [:]

    /// Adds an image with all its parts; for an index, its complete platforms.
    /// - Returns: why it cannot be added, or nil.
    mutating func take(_ digest: Digest, depth: Int = 0) -> String? {
        if manifests[digest] != nil { return nil }
        guard let entry = scan.manifests[digest] else { return "its manifest \(digest) is not in the cache" }
        guard depth <= ArchiveLimits().indexDepth else { return "indexes more than \(depth) deep" }
        let path = layout.manifest(digest, entry.mediaType)
        guard let bytes = try? Disk.readFile(path, maximumBytes: Manifest.maximumSizeBytes) else {
            return "its manifest \(digest) cannot be read"
        }
        guard let own = try? Manifest.decode(bytes, contentType: entry.mediaType.text).ownBlobs else {
            return "its manifest \(digest) cannot be read"
        }
        let missing = own.filter { scan.blobs[$0.digest] == nil }
        guard missing.isEmpty else { return "\(missing.count) of its \(own.count) blobs are not in the cache" }
        if entry.mediaType.isIndex {
            var reason: String?
            var hasAny = false
            for child in entry.children {
                if let problem = take(child, depth: depth + 1) { reason = reason ?? problem } else { hasAny = true }
            }
            if !hasAny, let reason { return "none of its platforms is whole in the cache: \(reason)" }
        }
        // Foreign layers are downloaded from elsewhere and not redistributed.
        for blob in own {
            blobs[blob.digest] = LayoutBlob(
                digest: blob.digest, sizeBytes: scan.blobs[blob.digest]?.sizeBytes ?? 0, path: layout.blob(blob.digest))
        }
        manifests[digest] = LayoutManifest(digest: digest, mediaType: entry.mediaType, bytes: bytes)
        return nil
    }
}

extension ImageName {
    fileprivate init(host: RegistryHost, repository: RepositoryName, reference: Reference) {
        switch reference {
        case .tag(let tag): self.init(host: host, repository: repository, tag: tag)
        case .digest(let digest): self.init(host: host, repository: repository, tag: nil, digest: digest)
        }
    }

    fileprivate init(_ name: ImageScan.Name) {
        self.init(host: name.host, repository: name.repository, reference: name.reference)
    }
}
