// The images of an OCI layout: index.json, and every reachable manifest in the archive. Manifests are read level by
// level, so that a tarball is read at most once per level, and each digest once, so that indexes that list each other
// many times cost nothing.

internal import OCI

struct LayoutImages {
    /// Annotations with an image's name. containerd's, which docker uses too, is always a complete name; the
    /// specification's is whatever the tool was given: a complete name with podman and skopeo, often a bare tag with
    /// others.
    private static let nameKeys = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
    /// The annotation in which build tools name the manifest that an attestation describes.
    private static let subjectKey = "vnd.docker.reference.digest"

    private(set) var contents: ArchiveContents
    private(set) var manifests: [Digest: ArchivedManifest] = [:]
    private(set) var images: [ArchivedImage] = []

    private var limits: ArchiveLimits { contents.place.limits }

    /// Reads the images. `contents` has an `index.json`.
    init(_ contents: ArchiveContents) throws(ArchiveError) {
        self.contents = contents
        try self.contents.load(["index.json"])
        let index = try decode(IndexDocument.self, "index.json")
        // Other types may be listed; the specification asks readers to ignore them.
        let tops = index.manifests.filter { MediaType($0.mediaType) != nil || $0.mediaType.isEmpty }
        guard tops.count <= limits.images else {
            throw failure("index.json", .limit("more than \(limits.images) images"))
        }
        for entry in tops where self.contents.file(EntryName.blob(entry.digest)) == nil {
            throw failure(EntryName.blob(entry.digest), .missing)
        }
        try readManifests(tops)
        images = LayoutImages.images(tops)
        findReferrers()
    }

    /// Finds the images of the unnamed referrers, and of the referrers of those.
    private mutating func findReferrers() {
        var tops: [Digest: Digest] = [:]
        for image in images where manifests[image.top]?.subject == nil {
            note(image.top, top: image.top, &tops, depth: 0)
        }
        // Each pass finds the referrers of those found before.
        for _ in 0..<limits.indexDepth {
            var hasChanged = false
            for index in images.indices where images[index].referrerOf == nil && images[index].names.isEmpty {
                let digest = images[index].top
                guard let subject = manifests[digest]?.subject, let top = tops[subject], top != digest else { continue }
                images[index].referrerOf = top
                note(digest, top: top, &tops, depth: 0)
                hasChanged = true
            }
            if !hasChanged { return }
        }
    }

    /// Notes the image of a manifest and of its children. A manifest of several images belongs to the first.
    private func note(_ digest: Digest, top: Digest, _ tops: inout [Digest: Digest], depth: Int) {
        guard depth < limits.indexDepth, tops[digest] == nil, let manifest = manifests[digest] else { return }
        tops[digest] = top
        for child in manifest.children { note(child.digest, top: top, &tops, depth: depth + 1) }
    }

    private mutating func readManifests(_ tops: [IndexEntry]) throws(ArchiveError) {
        var level = tops
        for _ in 0..<limits.indexDepth {
            var seen: Set<Digest> = []
            let wanted = level.filter {
                manifests[$0.digest] == nil && contents.file(EntryName.blob($0.digest)) != nil
                    && seen.insert($0.digest).inserted
            }
            if wanted.isEmpty { return }
            try contents.load(wanted.map { EntryName.blob($0.digest) })
            level = []
            for entry in wanted { level += try read(entry) }
        }
        throw failure("index.json", .limit("indexes nested more than \(limits.indexDepth) deep"))
    }

    /// Reads one manifest, and returns its entries that may be manifests too.
    private mutating func read(_ entry: IndexEntry) throws(ArchiveError) -> [IndexEntry] {
        let name = EntryName.blob(entry.digest)
        let bytes = try contents.document(name)
        guard let sizeBytes = entry.sizeBytes else { throw failure(name, .badDocument(ArchiveError.noSize)) }
        guard bytes.count == sizeBytes else {
            throw failure(name, .wrongSize(expected: sizeBytes, found: Int64(bytes.count)))
        }
        let found = bytes.withUnsafeBytes { Digest.of($0, entry.digest.algorithm) }
        guard found == entry.digest else { throw failure(name, .wrongDigest(expected: entry.digest, found: found)) }
        do { try ArchiveDocuments.checkDepth(bytes, limits.documentDepth) } catch { throw failure(name, error) }
        let manifest: Manifest
        do throws(RegistryError) {
            manifest = try Manifest.decode(bytes, contentType: entry.mediaType.isEmpty ? nil : entry.mediaType)
        } catch {
            throw failure(name, .badDocument(error.message))
        }
        guard manifest.skippedDescriptorCount == 0 else {
            throw failure(name, .badDocument("a descriptor has no digest of a known algorithm"))
        }
        let listed = manifest.mediaType.isIndex ? try decode(IndexDocument.self, name).manifests : []
        let children = listed.filter { MediaType($0.mediaType) != nil }
        manifests[entry.digest] = ArchivedManifest(
            digest: entry.digest, mediaType: manifest.mediaType, bytes: bytes,
            blobs: ([manifest.config].compactMap { $0 } + manifest.layers),
            children: children.map { child in
                .init(
                    digest: child.digest, platform: child.platform,
                    subject: child.annotations[LayoutImages.subjectKey].flatMap { Digest($0) })
            },
            subject: manifest.subject, isMade: false)
        return children
    }

    /// One image for each top manifest, with every name that `index.json` gives it. Manifests that share a name stay
    /// separate: the choice between them depends on the platform.
    private static func images(_ tops: [IndexEntry]) -> [ArchivedImage] {
        var order: [Digest] = []
        var groups: [Digest: [IndexEntry]] = [:]
        for entry in tops {
            if groups[entry.digest] == nil { order.append(entry.digest) }
            groups[entry.digest, default: []].append(entry)
        }
        return order.map { digest in
            let entries = groups[digest] ?? []
            var names: [ImageName] = []
            for name in entries.compactMap(name) where !names.contains(name) { names.append(name) }
            return ArchivedImage(
                names: names, label: entries.lazy.compactMap { $0.annotations[nameKeys[1]] }.first, top: digest,
                platform: entries.lazy.compactMap(\.platform).first)
        }
    }

    /// The complete name of an entry. A bare word may be a tag, and is never taken as a repository of Docker Hub.
    private static func name(of entry: IndexEntry) -> ImageName? {
        for key in nameKeys {
            if let text = entry.annotations[key], text.contains("/") || text.contains(":"), let name = ImageName(text) {
                return name
            }
        }
        return nil
    }

    private func decode<Document: Decodable>(
        _ type: Document.Type, _ name: String
    ) throws(ArchiveError) -> Document {
        let bytes = try contents.document(name)
        do { return try ArchiveDocuments.decode(type, bytes, depth: limits.documentDepth) } catch {
            throw failure(name, error)
        }
    }

    private func failure(_ name: String, _ problem: ArchiveError.Problem) -> ArchiveError {
        ArchiveError(contents.place.path, entry: name, problem)
    }
}
