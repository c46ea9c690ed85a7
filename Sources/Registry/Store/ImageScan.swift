// A look at the whole store from the disk, off the loop: which names there are, which manifests, what these are made
// of. The disk is asked rather than memory because memory keeps only what answers requests; and for an operator's
// question some seconds of a pool thread are cheaper than gigabytes that stand by for it.

import Glibc

/// What one look found.
struct ImageScan: Sendable {
    struct ManifestEntry: Sendable {
        let mediaType: MediaType
        let sizeBytes: Int64
        let createdSeconds: Int64
        /// Config and layers.
        let blobs: [Descriptor]
        /// What an index lists.
        let children: [Digest]
    }

    struct Name: Sendable {
        let host: RegistryHost
        let repository: RepositoryName
        let reference: Reference
        let digest: Digest
        let createdSeconds: Int64
    }

    private(set) var names: [Name] = []
    private(set) var manifests: [Digest: ManifestEntry] = [:]
    /// Blobs on disk: sizes, and when they came.
    private(set) var blobs: [Digest: (sizeBytes: Int64, createdSeconds: Int64)] = [:]

    /// Reads everything. What disappears meanwhile, or cannot be read, is left out: recovery and readers report it.
    init(_ layout: Layout) {
        for type in MediaType.allCases {
            ImageScan.forEachContent(in: "\(layout.manifests)/\(type.directoryName)") { digest, path, status in
                readManifest(digest, type, path, status)
            }
        }
        ImageScan.forEachContent(in: layout.blobs) { blobs[$0] = ($2.sizeBytes, $2.modifiedSeconds) }
        for host in ImageScan.entries(layout.tags) {
            guard let registry = RegistryHost(host) else { continue }
            readRepositories(registry, "", "\(layout.tags)/\(host)")
        }
    }

    /// The images by name, sorted. A name without its manifest is none; a child of a named index that nobody has named
    /// itself (older stores have those) is given the index's repository.
    func images(_ accessed: [Digest: Int64]) -> [CachedImage] {
        var all = names
        let named = Set(names.map { "\($0.host)/\($0.repository)@\($0.digest)" })
        for name in names {
            for child in manifests[name.digest]?.children ?? [] where manifests[child] != nil {
                guard !named.contains("\(name.host)/\(name.repository)@\(child)") else { continue }
                all.append(
                    Name(
                        host: name.host, repository: name.repository, reference: .digest(child), digest: child,
                        createdSeconds: name.createdSeconds))
            }
        }
        var seen: Set<String> = []
        let images = all.compactMap { image(of: $0, accessed) }.map { ($0.name, $0) }
        return images.filter { seen.insert($0.0).inserted }.sorted { $0.0 < $1.0 }.map(\.1)
    }

    private func image(of name: Name, _ accessed: [Digest: Int64]) -> CachedImage? {
        guard let manifest = manifests[name.digest] else { return nil }
        return CachedImage(
            host: name.host, repository: name.repository, reference: name.reference, digest: name.digest,
            mediaType: manifest.mediaType, createdSeconds: name.createdSeconds,
            pulledSeconds: accessed[name.digest] ?? name.createdSeconds, manifestBytes: manifest.sizeBytes,
            blobs: manifest.blobs.map {
                CachedImage.Blob(digest: $0.digest, sizeBytes: $0.sizeBytes, isCached: blobs[$0.digest] != nil)
            })
    }

    // MARK: Reading

    private mutating func readManifest(_ digest: Digest, _ type: MediaType, _ path: String, _ status: FileStatus) {
        guard let bytes = try? Disk.readFile(path, maximumBytes: Manifest.maximumSizeBytes),
            let manifest = try? Manifest.decode(bytes, contentType: type.text)
        else { return }
        manifests[digest] = ManifestEntry(
            mediaType: type, sizeBytes: status.sizeBytes, createdSeconds: status.modifiedSeconds,
            blobs: (manifest.config.map { [$0] } ?? []) + manifest.layers, children: manifest.manifests.map(\.digest))
    }

    private mutating func readRepositories(_ host: RegistryHost, _ repository: String, _ path: String) {
        for entry in ImageScan.entries(path) {
            let inner = "\(path)/\(entry)"
            if entry == Layout.tagsName || entry == Layout.digestsName {
                guard let name = RepositoryName(repository) else { continue }
                for file in ImageScan.entries(inner) { readName(host, name, file, "\(inner)/\(file)") }
            } else {
                readRepositories(host, repository.isEmpty ? entry : "\(repository)/\(entry)", inner)
            }
        }
    }

    private mutating func readName(_ host: RegistryHost, _ repository: RepositoryName, _ file: String, _ path: String) {
        guard let record = try? TagRecord.read(path) else { return }
        let reference = Layout.readDigestFileName(file).map { Reference.digest($0) } ?? .tag(file)
        names.append(
            Name(
                host: host, repository: repository, reference: reference, digest: record.digest,
                createdSeconds: record.resolvedAtSeconds))
    }

    /// Files of `<directory>/<algorithm>/<shard>/<hex>`.
    static func forEachContent(in directory: String, _ body: (Digest, String, FileStatus) -> Void) {
        for algorithm in Digest.Algorithm.allCases {
            for shard in ImageScan.entries("\(directory)/\(algorithm.name)") {
                let folder = "\(directory)/\(algorithm.name)/\(shard)"
                for name in ImageScan.entries(folder) {
                    guard let digest = Digest("\(algorithm.name):\(name)"),
                        let status = try? Disk.status(at: "\(folder)/\(name)"), status.isRegular
                    else { continue }
                    body(digest, "\(folder)/\(name)", status)
                }
            }
        }
    }

    private static func entries(_ directory: String) -> [String] { (try? Disk.names(in: directory)) ?? [] }
}
