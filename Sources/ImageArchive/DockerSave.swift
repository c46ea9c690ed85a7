// The images of a `docker save` tarball that is not an OCI layout: `manifest.json` names an image's config and layer
// files, and the registry's manifest is missing. A manifest is created from the config and the layers in the tarball.
//
// The created manifest depends on the image alone: the same image gives the same bytes and the same digest, regardless
// of the tool that wrote the tarball and of the time. It differs from the registry's manifest: the registry's layers
// are compressed, these mostly are not, and the tarball does not contain the compressed layers' digests.

internal import OCI

struct DockerSave {
    private(set) var contents: ArchiveContents
    private(set) var manifests: [Digest: ArchivedManifest] = [:]
    private(set) var images: [ArchivedImage] = []
    /// The file of each config and layer.
    private(set) var places: [Digest: String] = [:]

    private var described: [String: Digest] = [:]

    /// Types of docker's image-spec v1.2 and distribution's manifest schema 2.
    private static let configType = "application/vnd.docker.container.image.v1+json"
    private static let layerType = "application/vnd.docker.image.rootfs.diff.tar"

    private struct Planned {
        var names: [ImageName]
        let config: String
        let layers: [(file: String, diffID: Digest)]
    }

    /// Reads the images. `contents` has a `manifest.json`.
    init(_ contents: ArchiveContents) throws(ArchiveError) {
        self.contents = contents
        let saved = try DockerSave.list(&self.contents)
        var configs: [String] = []
        for image in saved { configs.append(try self.contents.name(of: image.config)) }
        try self.contents.load(configs)
        var planned: [Planned] = []
        for (image, config) in zip(saved, configs) { planned.append(try plan(image, config)) }
        let hashes = try hashCompressed(planned)
        for image in planned { try make(image, hashes) }
    }

    /// The images that `manifest.json` lists.
    static func list(_ contents: inout ArchiveContents) throws(ArchiveError) -> [SavedImage] {
        let name = "manifest.json"
        let limits = contents.place.limits
        try contents.load([name])
        let bytes = try contents.document(name)
        do throws(ArchiveError.Problem) {
            let saved = try ArchiveDocuments.decode([SavedImage].self, bytes, depth: limits.documentDepth)
            guard saved.count <= limits.images else { throw .limit("more than \(limits.images) images") }
            return saved
        } catch {
            throw ArchiveError(contents.place.path, entry: name, error)
        }
    }

    /// The valid names of `RepoTags`, without entries such as docker's `<none>:<none>`.
    static func names(_ saved: SavedImage) -> [ImageName] {
        var names: [ImageName] = []
        for name in (saved.repoTags ?? []).compactMap({ ImageName($0) }) where !names.contains(name) {
            names.append(name)
        }
        return names
    }

    private func plan(_ saved: SavedImage, _ config: String) throws(ArchiveError) -> Planned {
        let bytes = try contents.document(config)
        let document: ConfigDocument
        do throws(ArchiveError.Problem) {
            document = try ArchiveDocuments.decode(
                ConfigDocument.self, bytes, depth: contents.place.limits.documentDepth)
        } catch {
            throw failure(config, error)
        }
        let diffIDs = document.rootfs.diffIDs ?? []
        let files = saved.layers ?? []
        guard diffIDs.count == files.count else {
            throw failure(
                config, .badDocument("has \(diffIDs.count) diff_ids, and manifest.json \(files.count) layers"))
        }
        var layers: [(file: String, diffID: Digest)] = []
        for (file, text) in zip(files, diffIDs) {
            guard let diffID = Digest(text) else { throw failure(config, .badDocument("a diff_id is not a digest")) }
            layers.append((try contents.name(of: file, link: true), diffID))
        }
        return Planned(names: DockerSave.names(saved), config: config, layers: layers)
    }

    /// Hashes the compressed layers, which some tools write into such tarballs: a layer's digest is of its compressed
    /// bytes, a diff_id in the config of its decompressed content.
    private func hashCompressed(_ planned: [Planned]) throws(ArchiveError) -> [String: LayerHash.Result] {
        var wanted: Set<String> = []
        for image in planned {
            for layer in image.layers where contents.file(layer.file)?.compression != nil { wanted.insert(layer.file) }
        }
        guard !wanted.isEmpty else { return [:] }
        var results: [String: LayerHash.Result] = [:]
        let cursor = try contents.place.cursor()
        while !wanted.isEmpty, let entry = try cursor.next() {
            guard entry.kind == .file, wanted.remove(entry.name) != nil else { continue }
            results[entry.name] = try LayerHash.read(entry, cursor, of: contents.place)
        }
        return results
    }

    private mutating func make(_ planned: Planned, _ hashes: [String: LayerHash.Result]) throws(ArchiveError) {
        let bytes = try contents.document(planned.config)
        let digest = bytes.withUnsafeBytes { Digest.of($0) }
        // Every tool names the config by its digest: `<hex>.json`, or by its path in a layout.
        let hex = planned.config.split(separator: "/").last.map { $0.hasSuffix(".json") ? $0.dropLast(5) : $0 } ?? ""
        if let named = Digest("sha256:\(hex)"), named != digest {
            throw failure(planned.config, .wrongDigest(expected: named, found: digest))
        }
        let config = Descriptor(
            mediaType: DockerSave.configType, digest: digest, sizeBytes: Int64(bytes.count), urls: [])
        try place(digest, planned.config)
        var layers: [Descriptor] = []
        for layer in planned.layers { layers.append(try describe(layer.file, layer.diffID, hashes[layer.file])) }
        add(planned.names, config, layers)
    }

    /// A layer's descriptor. The digest of an uncompressed layer is its diff_id, which is checked when the layer is
    /// read.
    private mutating func describe(
        _ file: String, _ diffID: Digest, _ hash: LayerHash.Result?
    ) throws(ArchiveError) -> Descriptor {
        guard let entry = contents.file(file) else { throw failure(file, .missing) }
        var digest = diffID
        var type = DockerSave.layerType
        if let hash, let compression = entry.compression {
            guard hash.contentDigest(diffID.algorithm) == diffID else {
                throw failure(
                    file, .wrongDigest(expected: diffID, found: hash.contentDigest(diffID.algorithm)))
            }
            digest = hash.digest
            type += compression == .gzip ? ".gzip" : ".zstd"
        }
        try place(digest, file)
        return Descriptor(mediaType: type, digest: digest, sizeBytes: entry.sizeBytes, urls: [])
    }

    /// Records a file's digest. Two images that give one file different digests are an error.
    private mutating func place(_ digest: Digest, _ file: String) throws(ArchiveError) {
        if let before = described.updateValue(digest, forKey: file), before != digest {
            throw failure(file, .badDocument("is described by two digests, \(before) and \(digest)"))
        }
        if places[digest] == nil { places[digest] = file }
    }

    private mutating func add(_ names: [ImageName], _ config: Descriptor, _ layers: [Descriptor]) {
        let bytes = DockerSave.manifest(config, layers)
        let digest = bytes.withUnsafeBytes { Digest.of($0) }
        manifests[digest] = ArchivedManifest(
            digest: digest, mediaType: .dockerManifest, bytes: bytes, blobs: [config] + layers, children: [],
            isMade: true)
        if let index = images.firstIndex(where: { $0.top == digest }) {
            let all = images[index].names + names.filter { !images[index].names.contains($0) }
            images[index] = ArchivedImage(names: all, label: nil, top: digest, platform: nil)
        } else {
            images.append(ArchivedImage(names: names, label: nil, top: digest, platform: nil))
        }
    }

    /// A manifest of schema 2 without white space, with its members in the order of the specification's example. Every
    /// text in it is one of this file's constants or hexadecimal, so that no escaping is needed.
    static func manifest(_ config: Descriptor, _ layers: [Descriptor]) -> [UInt8] {
        func json(_ descriptor: Descriptor) -> String {
            #"{"mediaType":"\#(descriptor.mediaType)","size":\#(descriptor.sizeBytes ?? 0),"#
                + #""digest":"\#(descriptor.digest)"}"#
        }
        let list = layers.map(json).joined(separator: ",")
        let type = MediaType.dockerManifest.text
        return Array(#"{"schemaVersion":2,"mediaType":"\#(type)","config":\#(json(config)),"layers":[\#(list)]}"#.utf8)
    }

    private func failure(_ name: String, _ problem: ArchiveError.Problem) -> ArchiveError {
        ArchiveError(contents.place.path, entry: name, problem)
    }
}
