// The walk over the store's directories, off the loop, a bounded number of entries at a time. It checks names, kinds
// and sizes without reading content. Foreign or damaged entries are set aside and reported.
//
// Crash safety: every file was complete and durable before it got its final name (Ingest, Publisher). So after a crash
// there is nothing to repair, only partial files, which are kept and hashed again when they are resumed. Entries that
// are set aside come from other programs, failing disks or file systems without barriers.

internal import Glibc
internal import OCI

/// One walk. Each call of `next` continues where the last one stopped.
final class RecoveryScan: @unchecked Sendable {
    // Sendable by order: Recovery runs one `next` at a time and starts another only when it has completed.

    /// Entries checked in one job: a millisecond in the pool, and a fraction of that on the loop to add the results.
    static let entriesPerBatch = 256

    /// The results of one job.
    struct Batch: Sendable {
        var blobs: [(Digest, Int64)] = []
        var manifests: [(Digest, MediaType, sizeBytes: Int64)] = []
        var tags: [(TagName, TagRecord)] = []
        var partials: [(path: String, FileStatus)] = []
        /// Old path, reason, new path.
        var setAside: [(String, String, String)] = []
        /// Number of entries set aside whose content cannot match their name.
        var damagedCount = 0
        var unreadable: [StoreError] = []
        var isLast = false
    }

    private enum Content {
        case blob
        case manifest(MediaType)
    }

    /// The kind of a directory, which determines its valid entries.
    private enum Place {
        case types
        case algorithms(Content)
        case shards(Content, Digest.Algorithm)
        case content(Content, Digest.Algorithm, shard: String)
        case hosts
        case repositories(RegistryHost, path: String)
        case tags(RegistryHost, RepositoryName)
        case digestNames
        case partials
    }

    private let layout: Layout
    private var waiting: [(path: String, place: Place)]
    private var current: (stream: OpaquePointer, path: String, place: Place)?

    init(_ layout: Layout) {
        self.layout = layout
        // Taken from the end: manifests and tags come first, since they decide more requests than blobs do.
        waiting = [
            (layout.partial, .partials), (layout.blobs, .algorithms(.blob)), (layout.tags, .hosts),
            (layout.manifests, .types),
        ]
    }

    deinit {
        if let current { closedir(current.stream) }
    }

    /// Checks the next entries.
    func next() -> Batch {
        var batch = Batch()
        for _ in 0..<RecoveryScan.entriesPerBatch {
            guard let (path, name, place) = nextEntry(&batch) else {
                batch.isLast = true
                break
            }
            do throws(StoreError) {
                try look(at: path, name, place, &batch)
            } catch {
                // The entry was removed after it was listed, by a commit, a quarantine or an operator.
                if !error.isMissing { batch.unreadable.append(error) }
            }
        }
        return batch
    }

    private func nextEntry(_ batch: inout Batch) -> (path: String, name: String, place: Place)? {
        while true {
            if let (stream, path, place) = current {
                if let name = Disk.nextName(stream) { return ("\(path)/\(name)", name, place) }
                closedir(stream)
                current = nil
            }
            guard let (path, place) = waiting.popLast() else { return nil }
            if let stream = opendir(path) {
                current = (stream, path, place)
            } else if errno != ENOENT {
                batch.unreadable.append(.from(errno, call: "opendir", path: path))
            }
        }
    }

    private func look(at path: String, _ name: String, _ place: Place, _ batch: inout Batch) throws(StoreError) {
        let status = try Disk.status(at: path)
        // An earlier release may have made it accessible to its owner only.
        layout.group.apply(to: status, at: path)
        var fault: String?
        switch place {
        case .content(let content, let algorithm, let shard):
            fault = lookAtContent(name, content, algorithm, shard, status, &batch)
        case .tags(let host, let repository):
            fault = try lookAtTag(path, TagName(host: host, repository: repository, tag: name), status, &batch)
        case .digestNames:
            fault = status.isRegular && Layout.readDigestFileName(name) != nil ? nil : "not a digest's name"
        case .partials:
            fault = status.isRegular && Layout.isPartialName(name) ? nil : "not a partial file"
            if fault == nil { batch.partials.append((path, status)) }
        default:
            if !status.isDirectory {
                fault = "not a directory"
            } else if let inner = inside(place, name) {
                waiting.append((path, inner))
            } else {
                fault = "foreign name"
            }
        }
        if let fault { batch.setAside.append((path, fault, try layout.setAside(path, reason: fault))) }
    }

    /// The kind of the directory `name` in `place`; nil when it does not belong there.
    private func inside(_ place: Place, _ name: String) -> Place? {
        switch place {
        case .types:
            return MediaType(directoryName: name).map { .algorithms(.manifest($0)) }
        case .algorithms(let content):
            return Digest.Algorithm.allCases.first { $0.name == name }.map { .shards(content, $0) }
        case .shards(let content, let algorithm):
            guard name.utf8.count == Layout.shardDigits, name.utf8.allSatisfy(ASCII.isHexadecimal) else { return nil }
            return .content(content, algorithm, shard: name)
        case .hosts:
            guard let host = RegistryHost(name), host.text == name else { return nil }
            return .repositories(host, path: "")
        case .repositories(let host, let path):
            if name == Layout.tagsName { return RepositoryName(path).map { .tags(host, $0) } }
            if name == Layout.digestsName { return RepositoryName(path).map { _ in .digestNames } }
            let longer = path.isEmpty ? name : "\(path)/\(name)"
            return RepositoryName(longer).map { .repositories(host, path: $0.text) }
        case .content, .tags, .digestNames, .partials:
            return nil
        }
    }

    private func lookAtContent(
        _ name: String, _ content: Content, _ algorithm: Digest.Algorithm, _ shard: String, _ status: FileStatus,
        _ batch: inout Batch
    ) -> String? {
        guard let digest = Digest("\(algorithm.name):\(name)") else { return "foreign name" }
        guard name.hasPrefix(shard) else { return "wrong directory" }
        switch content {
        case .blob:
            if let fault = status.faultOfBlob(digest) {
                batch.damagedCount += 1
                return fault
            }
            batch.blobs.append((digest, status.sizeBytes))
        case .manifest(let type):
            if let fault = status.faultOfManifest {
                batch.damagedCount += 1
                return fault
            }
            batch.manifests.append((digest, type, status.sizeBytes))
        }
        return nil
    }

    private func lookAtTag(
        _ path: String, _ name: TagName, _ status: FileStatus, _ batch: inout Batch
    ) throws(StoreError) -> String? {
        guard case .tag = Reference(name.tag) else { return "foreign name" }
        guard status.isRegular else { return "not a regular file" }
        do throws(StoreError) {
            batch.tags.append((name, try TagRecord.read(path)))
            return nil
        } catch {
            if case .unusable(_, let reason) = error { return reason }
            throw error
        }
    }
}
