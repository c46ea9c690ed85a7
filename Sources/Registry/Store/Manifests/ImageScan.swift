// A scan of the whole store on disk, off the loop: names, manifests and their content. Memory holds only the data that
// answers requests; for an operator's query some seconds of a pool thread are cheaper than gigabytes of memory.

internal import CLinux
import Glibc
internal import OCI

/// The result of one scan.
struct ImageScan: Sendable {
    /// A manifest on disk.
    struct ManifestEntry: Sendable {
        let mediaType: MediaType
        let sizeBytes: Int64
        let createdSeconds: Int64
        /// Config and layers, and the entries of an index that are blobs.
        let blobs: [CachedImage.Blob]
        /// The manifests that an index lists.
        let children: [Digest]
        /// The manifest that it is a referrer of.
        let subject: Digest?
    }

    /// A tag or digest name on disk, and the manifest that it refers to.
    struct Name: Sendable {
        let host: RegistryHost
        let repository: RepositoryName
        let reference: Reference
        let digest: Digest
        let createdSeconds: Int64
    }

    private(set) var names: [Name] = []
    private(set) var manifests: [Digest: ManifestEntry] = [:]
    /// Blobs on disk, with their sizes and creation times.
    private(set) var blobs: [Digest: (sizeBytes: Int64, createdSeconds: Int64)] = [:]
    /// The index of proofs; nil if it was not read.
    private let proofs: ProofTable?
    /// Files left out because they cannot be read.
    private(set) var unreadable: [StoreError] = []

    /// Scans the store. Files that disappear meanwhile or cannot be read are left out.
    /// - Parameter readsProofs: whether the index of proofs is read too.
    /// - Throws: when a directory cannot be read: a prune that relied on a partial scan would remove content that is
    ///   still used.
    init(_ layout: Layout, readsProofs: Bool = false) throws(StoreError) {
        proofs = readsProofs ? try ProofFile.load(layout).table : nil
        // A running store always has these directories; if they are missing, it has lost its disk.
        for directory in [layout.manifests, layout.blobs, layout.tags] { _ = try Disk.names(in: directory) }
        // Blobs come first: a blob added during the scan is not seen and stays, while its manifest may be seen.
        try ImageScan.forEachContent(in: layout.blobs) { (digest, _, status) in
            blobs[digest] = (status.sizeBytes, status.modifiedSeconds)
        }
        for type in MediaType.allCases {
            let directory = "\(layout.manifests)/\(type.directoryName)"
            try ImageScan.forEachContent(in: directory) { (digest, path, status) throws(StoreError) in
                try readManifest(digest, type, path, status)
            }
        }
        for host in try ImageScan.entries(layout.tags) {
            guard let registry = RegistryHost(host) else { continue }
            try readRepositories(registry, "", "\(layout.tags)/\(host)")
        }
    }

    /// The images, sorted by name. A name without its manifest is left out. A child of a named index without a name of
    /// its own (in older stores) gets the index's repository.
    func images(_ accessed: DigestMap<Int64>) -> [CachedImage] {
        let images = (names + unnamedChildren()).compactMap { image(of: $0, accessed) }
        return images.map { ($0.name, $0) }.sorted { $0.0 < $1.0 }.map(\.1)
    }

    private func unnamedChildren() -> [Name] {
        guard manifests.values.contains(where: { !$0.children.isEmpty }) else { return [] }
        var seen = Set(names.map { "\($0.host)/\($0.repository)@\($0.digest)" })
        var found: [Name] = []
        for name in names {
            for child in manifests[name.digest]?.children ?? [] where manifests[child] != nil {
                guard seen.insert("\(name.host)/\(name.repository)@\(child)").inserted else { continue }
                found.append(
                    Name(
                        host: name.host, repository: name.repository, reference: .digest(child), digest: child,
                        createdSeconds: name.createdSeconds))
            }
        }
        return found
    }

    private func image(of name: Name, _ accessed: DigestMap<Int64>) -> CachedImage? {
        guard let manifest = manifests[name.digest] else { return nil }
        var image = CachedImage(
            host: name.host, repository: name.repository, reference: name.reference, digest: name.digest,
            mediaType: manifest.mediaType, createdSeconds: name.createdSeconds,
            pulledSeconds: accessed[name.digest] ?? name.createdSeconds, manifestBytes: manifest.sizeBytes,
            blobs: manifest.blobs)
        guard let proofs else { return image }
        let repository = "\(name.host)/\(name.repository)"
        image.isProven = proofs.contains(image.digest, repository)
        for index in image.blobs.indices {
            image.blobs[index].isProven = proofs.contains(image.blobs[index].digest, repository)
        }
        return image
    }

    /// Number of manifests and blobs.
    var entryCount: Int { manifests.count + blobs.count }

    /// Returns memory to the system: a scan of a large cache takes hundreds of megabytes, which the allocator keeps for
    /// each thread that has scanned. Must run off the loop, after the scan's memory has been freed.
    static func giveMemoryBack(afterEntries count: Int) {
        if count > ImageScan.manyEntries { linux_trim_heap() }
    }

    /// After a scan with fewer entries, too little memory could be returned to be worth the time.
    private static let manyEntries = 20_000

    // MARK: Reading

    private mutating func readManifest(
        _ digest: Digest, _ type: MediaType, _ path: String, _ status: FileStatus
    ) throws(StoreError) {
        let bytes = try attempt { () throws(StoreError) in
            try Disk.readFile(path, maximumBytes: Manifest.maximumSizeBytes)
        }
        // Manifests that do not decode are left to `verify` and to readers.
        guard let bytes, let manifest = try? Manifest.decode(bytes, contentType: type.text) else { return }
        // An index's entry that counts as a manifest may have been requested as a blob: one without a media type, or of
        // a type that only its clients know.
        let children = manifest.manifests.filter { blobs[$0.digest] != nil }
        manifests[digest] = ManifestEntry(
            mediaType: type, sizeBytes: status.sizeBytes, createdSeconds: status.modifiedSeconds,
            blobs: ((manifest.config.map { [$0] } ?? []) + manifest.layers + children).map {
                CachedImage.Blob(digest: $0.digest, sizeBytes: $0.sizeBytes, isCached: blobs[$0.digest] != nil)
            }, children: manifest.manifests.map(\.digest), subject: manifest.subject)
    }

    private mutating func readRepositories(
        _ host: RegistryHost, _ repository: String, _ path: String
    ) throws(StoreError) {
        for entry in try ImageScan.entries(path) {
            let inner = "\(path)/\(entry)"
            if entry == Layout.tagsName || entry == Layout.digestsName {
                guard let name = RepositoryName(repository) else { continue }
                for file in try ImageScan.entries(inner) {
                    // A tag can look like a digest's file name: clients keep referrers under such tags.
                    let digest = entry == Layout.digestsName ? Layout.readDigestFileName(file) : nil
                    try readName(host, name, digest.map { .digest($0) } ?? .tag(file), "\(inner)/\(file)")
                }
            } else {
                try readRepositories(host, repository.isEmpty ? entry : "\(repository)/\(entry)", inner)
            }
        }
    }

    private mutating func readName(
        _ host: RegistryHost, _ repository: RepositoryName, _ reference: Reference, _ path: String
    ) throws(StoreError) {
        guard let record = try attempt({ () throws(StoreError) in try TagRecord.read(path) }) else { return }
        names.append(
            Name(
                host: host, repository: repository, reference: reference, digest: record.digest,
                createdSeconds: record.resolvedAtSeconds))
    }

    /// Reads one file; nil if it is missing or unreadable. A lack of descriptors or memory of this process ends the
    /// scan.
    private mutating func attempt<R>(_ read: () throws(StoreError) -> R) throws(StoreError) -> R? {
        do throws(StoreError) {
            return try read()
        } catch {
            if case .system(_, _, let code) = error, [EMFILE, ENFILE, ENOMEM].contains(code) { throw error }
            if !error.isMissing { unreadable.append(error) }
            return nil
        }
    }

    /// Files of `<directory>/<algorithm>/<shard>/<hex>`.
    static func forEachContent(
        in directory: String, _ body: (Digest, String, FileStatus) throws(StoreError) -> Void
    ) throws(StoreError) {
        for algorithm in Digest.Algorithm.allCases {
            for shard in try entries("\(directory)/\(algorithm.name)") {
                let folder = "\(directory)/\(algorithm.name)/\(shard)"
                for name in try entries(folder) {
                    guard let digest = Digest("\(algorithm.name):\(name)"),
                        let status = try? Disk.status(at: "\(folder)/\(name)"), status.isRegular
                    else { continue }
                    try body(digest, "\(folder)/\(name)", status)
                }
            }
        }
    }

    /// The names in a directory; empty if it does not exist.
    private static func entries(_ directory: String) throws(StoreError) -> [String] {
        do throws(StoreError) {
            return try Disk.names(in: directory)
        } catch {
            if error.isMissing { return [] }
            throw error
        }
    }
}
