// All content of a store in an order that never changes: by path, a shard at a time, so that a walk can continue where
// an earlier one stopped and has no more in memory than one shard's names. Off the loop.

internal import OCI

/// A file that holds content, by its name.
struct StoredContent: Sendable {
    let path: String
    let digest: Digest
    /// Nil for a blob.
    let type: MediaType?
}

/// One walk over blobs and manifests. Files added meanwhile are included if the walk has not passed their path.
struct ContentWalk {
    /// A directory of shards.
    private struct Root {
        /// Below the store's own directory, as all paths here.
        let path: String
        let algorithm: Digest.Algorithm
        let type: MediaType?
    }

    private let layout: Layout
    /// The last path that an earlier walk came to; empty to begin with the first.
    private let start: String
    /// What is left, each taken from the end.
    private var roots: [Root]
    private var shards: [String] = []
    private var names: [String] = []
    private var root: Root?
    private var shard = ""
    /// Directories that cannot be read.
    private(set) var unreadable: [StoreError] = []

    /// - Parameter start: a path as `relativePath` gives it; the walk begins behind it.
    init(_ layout: Layout, after start: String = "") {
        self.layout = layout
        self.start = start
        let kinds = [(layout.blobs, nil)] + MediaType.allCases.map { ("\(layout.manifests)/\($0.directoryName)", $0) }
        let all = kinds.flatMap { (directory: String, type: MediaType?) in
            Digest.Algorithm.allCases.map { algorithm in
                Root(path: layout.relative("\(directory)/\(algorithm.name)"), algorithm: algorithm, type: type)
            }
        }
        roots = all.filter { !Self.isPassed($0.path, start) }.sorted { $0.path > $1.path }
    }

    /// The next file; nil at the end.
    mutating func next() -> StoredContent? {
        while true {
            while let root, let name = names.popLast() {
                // Other names are set aside by recovery, at the next start.
                guard let digest = Digest("\(root.algorithm.name):\(name)") else { continue }
                return StoredContent(path: "\(layout.root)/\(shard)/\(name)", digest: digest, type: root.type)
            }
            if let next = shards.popLast() {
                shard = next
                names = list(next).filter { "\(next)/\($0)" > start }.sorted(by: >)
            } else if let next = roots.popLast() {
                root = next
                shards = list(next.path).map { "\(next.path)/\($0)" }.filter { !Self.isPassed($0, start) }
                    .sorted(by: >)
            } else {
                return nil
            }
        }
    }

    /// What could not be read since this was asked last.
    mutating func takeUnreadable() -> [StoreError] {
        defer { unreadable = [] }
        return unreadable
    }

    /// Whether a walk that begins behind a path passes over a whole directory.
    private static func isPassed(_ directory: String, _ path: String) -> Bool {
        directory < String(decoding: path.utf8.prefix(directory.utf8.count), as: UTF8.self)
    }

    private mutating func list(_ directory: String) -> [String] {
        do throws(StoreError) {
            return try Disk.names(in: "\(layout.root)/\(directory)")
        } catch {
            if !error.isMissing { unreadable.append(error) }
            return []
        }
    }
}

extension Layout {
    /// A path of this store without the store's own.
    func relative(_ path: String) -> String {
        String(decoding: path.utf8.dropFirst(root.utf8.count + 1), as: UTF8.self)
    }
}
