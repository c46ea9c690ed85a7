// A walk over all content in a fixed order: by path, one shard at a time. So a walk can continue where an earlier one
// stopped, and holds only one shard's names in memory. Runs off the loop.

internal import OCI

/// A content file, by its name.
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
        /// A path relative to the store's directory, like all paths in this file.
        let path: String
        let algorithm: Digest.Algorithm
        let type: MediaType?
    }

    private let layout: Layout
    /// The path at which an earlier walk stopped; empty to start at the beginning.
    private let start: String
    /// What is left to walk; items are taken from the end.
    private var roots: [Root]
    private var shards: [String] = []
    private var names: [String] = []
    private var root: Root?
    private var shard = ""
    /// Directories that cannot be read.
    private(set) var unreadable: [StoreError] = []

    /// - Parameter start: a path from `Layout.relative`; the walk begins after it.
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
                // Files with other names are set aside by recovery at the next start.
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

    /// The errors since the last call.
    mutating func takeUnreadable() -> [StoreError] {
        defer { unreadable = [] }
        return unreadable
    }

    /// Whether a walk that begins after `path` skips the whole directory.
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
    /// A path relative to the store's directory.
    func relative(_ path: String) -> String {
        String(decoding: path.utf8.dropFirst(root.utf8.count + 1), as: UTF8.self)
    }
}
