// Lists of tags and referrers: one small file each, read when it is asked for. The recently used ones are in memory.

internal import Glibc
internal import Logging
internal import OCI

/// The lists in memory, and the state of those on disk.
struct Lists {
    /// Memory for lists: some thousand of the usual few kilobytes.
    static let memoryBytes = 8 * 1024 * 1024
    /// Bytes and number of list files. Clients name repositories freely, so they must not fill the disk; the images of
    /// a node have some thousand lists of a few kilobytes.
    static let maximumDiskBytes: Int64 = 256 << 20
    static let maximumFiles = 100_000
    /// What a small file takes on the disk.
    static let minimumFileBytes: Int64 = 4096
    /// Bytes written between two checks of these limits.
    static let bytesPerSweep: Int64 = 32 << 20

    private(set) var kept: [ListName: KeptList] = [:]
    private var order: [ListName] = []
    private var bytes = 0
    /// Lists that are not on the disk yet, and the number of their running writes.
    var writing: [ListName: (list: KeptList, count: Int)] = [:]
    var reading: [ListName: [(KeptList?) -> Void]] = [:]
    /// Bytes written since the last sweep. The first write of a process causes one.
    var unsweptBytes = Lists.bytesPerSweep
    var isSweeping = false

    func list(_ name: ListName) -> KeptList? { writing[name]?.list ?? kept[name] }

    mutating func remember(_ name: ListName, _ list: KeptList) {
        forget(name)
        let weight = Lists.weight(list)
        guard weight <= Lists.memoryBytes / 4 else { return }
        kept[name] = list
        order.append(name)
        bytes += weight
        var first = 0
        while bytes > Lists.memoryBytes {
            if let old = kept.removeValue(forKey: order[first]) { bytes -= Lists.weight(old) }
            first += 1
        }
        order.removeFirst(first)
    }

    mutating func forget(_ name: ListName) {
        guard let old = kept.removeValue(forKey: name) else { return }
        bytes -= Lists.weight(old)
        order.removeAll { $0 == name }
    }

    /// The list, and the approximate size of its name and entries.
    private static func weight(_ list: KeptList) -> Int { list.byteCount + 1024 }
}

extension Store {
    /// Finds a list in memory or on disk; nil when none is kept. Concurrent reads of one list share a job. A damaged
    /// file is moved to the quarantine, and the result is nil.
    package func findList(_ name: ListName, then: @escaping (KeptList?) -> Void) {
        if let list = lists.list(name) { return loop.deferred.complete(then, list) }
        if lists.reading[name] != nil {
            lists.reading[name]?.append(then)
            return
        }
        lists.reading[name] = [then]
        let path = layout.list(name)
        perform({ () throws(StoreError) in try KeptList.read(path) }) { [self] result in
            var found = lists.list(name)
            if found == nil {
                switch result {
                case .success(.found(let list)):
                    lists.remember(name, list)
                    found = list
                case .success(.missing): break
                case .success(.wrong(let reason)): quarantineList(path, reason)
                case .failure(let error): logger.error("store: cannot read \(name): \(error)")
                }
            }
            let list = found
            loop.deferred.forEach(lists.reading.removeValue(forKey: name) ?? []) { $0(list) }
        }
    }

    /// Keeps a list: in memory at once, on disk when `then` is called without an error.
    package func putList(_ name: ListName, _ list: KeptList, then: @escaping (StoreError?) -> Void = { _ in }) {
        lists.remember(name, list)
        guard !isClosing else { return loop.deferred.complete(then, .closed) }
        let (directory, file) = layout.listFile(name)
        workBegins()
        lists.writing[name] = (list, (lists.writing[name]?.count ?? 0) + 1)
        // The checksum of a long list takes milliseconds. In the publisher's order, so that the last list stays.
        publisher.exclusively({ () throws(StoreError) in list.fileContent }) { [self] result in
            // Making the content cannot fail.
            guard case .success(let content) = result else { return workEnds() }
            lists.unsweptBytes = lists.unsweptBytes.addingSaturated(max(Lists.minimumFileBytes, Int64(content.count)))
            let write = Publisher.Write(directory: directory, name: file, content: .bytes(content))
            publisher.publish(write) { [self] outcome in
                if let writing = lists.writing[name] {
                    lists.writing[name] = writing.count > 1 ? (writing.list, writing.count - 1) : nil
                }
                if let error = outcome.error {
                    noteFailure(error)
                    logger.error("store: \(name): the list may be lost by a restart: \(error)")
                }
                then(outcome.error)
                sweepLists()
                workEnds()
            }
        }
    }

    /// Checks the file again before moving it, in order with the writes: it may have been replaced by a good one.
    private func quarantineList(_ path: String, _ reason: String) {
        let layout = layout
        workBegins()
        publisher.exclusively({ () throws(StoreError) -> String? in
            guard case .wrong = try KeptList.read(path) else { return nil }
            return try layout.setAside(path, reason: reason)
        }) { [self] result in
            switch result {
            case .success(nil): break
            case .success(.some(let target)):
                countDamage(.read)
                reportQuarantine(path, reason, .success(target))
            case .failure(let error):
                countDamage(.read)
                reportQuarantine(path, reason, .failure(error))
            }
            workEnds()
        }
    }

    /// Removes the lists that were not confirmed for longest, when there are too many.
    private func sweepLists() {
        guard lists.unsweptBytes >= Lists.bytesPerSweep, !lists.isSweeping, !isClosing else { return }
        lists.unsweptBytes = 0
        lists.isSweeping = true
        let layout = layout
        workBegins()
        publisher.exclusively({ () throws(StoreError) -> Int in
            try ListFiles(layout).sweep(maximumBytes: Lists.maximumDiskBytes, maximumFiles: Lists.maximumFiles)
        }) { [self] result in
            lists.isSweeping = false
            directories.forget(below: layout.lists)
            switch result {
            case .success(0): break
            case .success(let count): logger.notice("store: \(count) old lists of tags and referrers removed")
            case .failure(let error): logger.error("store: old lists cannot be removed: \(error)")
            }
            workEnds()
        }
    }
}

/// The result of reading a list's file.
private enum ListFile: Sendable {
    case found(KeptList)
    case wrong(reason: String)
    case missing
}

extension KeptList {
    /// Reads a file. Blocks.
    fileprivate static func read(_ path: String) throws(StoreError) -> ListFile {
        do throws(StoreError) {
            let bytes = try Disk.readFile(path, maximumBytes: KeptList.maximumFileBytes)
            return KeptList(fileContent: bytes).map { .found($0) } ?? .wrong(reason: "not a list")
        } catch {
            if error.isMissing { return .missing }
            if case .unusable(_, let reason) = error { return .wrong(reason: reason) }
            if case .system(_, _, ELOOP) = error { return .wrong(reason: "symbolic link") }
            if error.isDamage { return .wrong(reason: "cannot be read") }
            throw error
        }
    }
}

/// All list files of a store. Blocks.
struct ListFiles {
    /// Depth of directories: a repository's name has at most 128 components, beside the host and the last two.
    private static let maximumDepth = 140

    private(set) var all: [(path: String, sizeBytes: Int64, modifiedSeconds: Int64)] = []

    private let root: String

    init(_ layout: Layout) throws(StoreError) {
        root = layout.lists
        try walk(root, layout.group, depth: 0)
    }

    private mutating func walk(_ directory: String, _ group: GroupAccess, depth: Int) throws(StoreError) {
        guard depth < ListFiles.maximumDepth else { return }
        let names: [String]
        do throws(StoreError) { names = try Disk.names(in: directory) } catch {
            if error.isMissing { return }
            throw error
        }
        for name in names {
            let path = "\(directory)/\(name)"
            guard let status = try? Disk.status(at: path) else { continue }
            // The cache may have become a group's since.
            group.apply(to: status, at: path)
            if status.isDirectory {
                try walk(path, group, depth: depth + 1)
            } else {
                all.append((path, status.sizeBytes, status.modifiedSeconds))
            }
        }
    }

    /// Removes the directories of a removed file that are empty now, since clients name repositories freely.
    private func removeEmptyDirectories(above path: String) {
        var directory = path[...]
        while let slash = directory.lastIndex(of: "/") {
            directory = directory[..<slash]
            guard directory.utf8.count > root.utf8.count, rmdir(String(directory)) == 0 else { return }
        }
    }

    /// Removes the oldest files down to three quarters of the limits, if one is exceeded.
    /// - Returns: the number of removed files.
    func sweep(maximumBytes: Int64, maximumFiles: Int) throws(StoreError) -> Int {
        var (bytes, count) = (all.saturatedSum(\.sizeBytes), all.count)
        guard bytes > maximumBytes || count > maximumFiles else { return 0 }
        var removed = 0
        for file in all.sorted(by: { $0.modifiedSeconds < $1.modifiedSeconds }) {
            guard bytes > maximumBytes / 4 * 3 || count > maximumFiles / 4 * 3 else { break }
            try Disk.unlink(file.path)
            removeEmptyDirectories(above: file.path)
            bytes = bytes.subtractingSaturated(file.sizeBytes)
            count -= 1
            removed += 1
        }
        return removed
    }
}
