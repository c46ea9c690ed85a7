// Writing of small files (manifests, tags) to the disk, in order and in batches. One job writes and fsyncs each file
// under a temporary name, renames them in order, then fsyncs every directory once.
//
// Crash safety: a file is durable before it gets its name (fsync before rename), and the name is durable before `then`
// reports it (fsync of the directory after). A crash leaves either the old content or the complete new content. A
// manifest passed before the tag that points to it is renamed first. Since only one job runs at a time, two writes of
// one tag stay in order, and at most one pool thread waits for these fsyncs.

internal import DequeModule
internal import Glibc
internal import Logging

/// Directories whose own names are durable, because this process has fsynced them and all their parents. Starts empty:
/// an earlier process may have died between making a directory and fsyncing its parent.
final class DirectoryBook {
    private var durable: Set<String> = []
    func contains(_ directory: String) -> Bool { durable.contains(directory) }
    func add(_ directory: String) { durable.insert(directory) }
    /// Forgets the directories below one: some have been removed, and may be made again.
    func forget(below directory: String) { durable = durable.filter { !$0.hasPrefix(directory + "/") } }
}

/// Writes small files durably, in order.
final class Publisher {
    /// A small file to write.
    struct Write: Sendable {
        enum Content: Sendable {
            case bytes([UInt8])
            /// A manifest's body, which is served from the same memory.
            case body(SharedBody)
        }

        let directory: String
        let name: String
        let content: Content
        /// A file to remove after the rename: the same manifest under another type.
        var obsolete: String?
        var isKnownDirectory = false

        /// The memory that it holds until it has ended: the content, and the approximate size of names and callbacks.
        var heldBytes: Int {
            switch content {
            case .bytes(let bytes): bytes.count + 1024
            case .body(let body): body.count + 1024
            }
        }
    }

    /// The result of publishing a file.
    enum Outcome: Sendable {
        /// The file has its name, and a crash does not change that.
        case durable
        /// The file has its name, but its directory could not be flushed, so a crash may lose it.
        case named(StoreError)
        /// The file was not written.
        case refused(StoreError)

        var error: StoreError? {
            switch self {
            case .durable: nil
            case .named(let error), .refused(let error): error
            }
        }

        var isNamed: Bool { if case .refused = self { false } else { true } }
    }

    /// Files in one batch: this bounds the memory, and how long the first file waits for the last.
    static let maximumBatch = 64

    private let layout: Layout
    private let directories: DirectoryBook
    private let chain: SerialOffload
    private let memory: MemoryBudget
    private let logger: Logger
    private var waiting: Deque<(write: Write, then: (Outcome) -> Void)> = []
    private var isRunning = false
    private var nextNumber = 0
    /// Number of files passed to `publish`, and of those that have ended.
    private var (givenCount, endedCount) = (0, 0)

    /// - Parameter memory: the budget that counts files waiting to be written.
    init(layout: Layout, directories: DirectoryBook, memory: MemoryBudget, offload: Offload, logger: Logger) {
        self.layout = layout
        self.directories = directories
        self.memory = memory
        self.logger = logger
        chain = SerialOffload(offload)
    }

    /// Publishes a file. It is never refused for lack of memory: the fetch of a manifest has already waited for that.
    func publish(_ write: Write, then: @escaping (Outcome) -> Void) {
        memory.hold(write.heldBytes)
        waiting.append((write, then))
        givenCount += 1
        startBatch()
    }

    /// Runs a job that must not overlap with publishing.
    func exclusively<R: Sendable>(
        _ work: @escaping @Sendable () throws(StoreError) -> R, then: @escaping (Result<R, StoreError>) -> Void
    ) {
        chain.attempt(work, then: then)
    }

    /// Calls `then` when every file published so far has ended, with or without an error.
    func whenWritten(then: @escaping () -> Void) { wait(forFiles: givenCount, then) }

    private func wait(forFiles count: Int, _ then: @escaping () -> Void) {
        guard endedCount < count else { return then() }
        chain.attempt({}) { [self] (_: Result<Void, StoreError>) in wait(forFiles: count, then) }
    }

    private func startBatch() {
        guard !isRunning, !waiting.isEmpty else { return }
        isRunning = true
        let batch = Array(waiting.prefix(Publisher.maximumBatch))
        waiting.removeFirst(batch.count)
        var writes = batch.map(\.write)
        for index in writes.indices { writes[index].isKnownDirectory = directories.contains(writes[index].directory) }
        let job = Batch(layout: layout, writes: writes, firstNumber: nextNumber)
        nextNumber += writes.count
        chain.attempt({ () throws(StoreError) in job.perform() }) { result in
            self.finish(batch.map(\.then), writes, result)
        }
    }

    private func finish(
        _ callers: [(Outcome) -> Void], _ writes: [Write], _ result: Result<Batch.Report, StoreError>
    ) {
        isRunning = false
        let outcomes: [Outcome]
        switch result {
        case .success(let report):
            outcomes = report.outcomes
            for error in report.leftOver { logger.error("store: an obsolete file cannot be removed: \(error)") }
        case .failure(let error): outcomes = Array(repeating: .refused(error), count: callers.count)
        }
        for (write, outcome) in zip(writes, outcomes) {
            if outcome.error == nil { directories.add(write.directory) }
            memory.release(write.heldBytes)
        }
        endedCount += callers.count
        for (then, outcome) in zip(callers, outcomes) { then(outcome) }
        startBatch()
    }
}

extension Publisher {
    /// One job's work, off the loop.
    private struct Batch: Sendable {
        let layout: Layout
        let writes: [Write]
        let firstNumber: Int

        struct Report: Sendable {
            var outcomes: [Outcome]
            /// Errors for obsolete files that could not be removed.
            var leftOver: [StoreError] = []
        }

        func perform() -> Report {
            let staged = writes.indices.map { index in failure { () throws(StoreError) in try stage(index) } }
            let named = writes.indices.map { index in
                staged[index] ?? failure { () throws(StoreError) in try name(index) }
            }
            var report = Report(outcomes: named.map { error in error.map { .refused($0) } ?? .durable })
            var synced: [String: StoreError?] = [:]
            for index in writes.indices where named[index] == nil {
                let write = writes[index]
                if synced[write.directory] == nil {
                    synced[write.directory] = .some(failure { () throws(StoreError) in try sync(write) })
                }
                if let error = synced[write.directory] ?? nil {
                    report.outcomes[index] = .named(error)
                } else if let obsolete = write.obsolete,
                    let error = failure({ () throws(StoreError) in try Disk.unlink(obsolete) })
                {
                    report.leftOver.append(error)
                }
            }
            return report
        }

        private func temporary(_ index: Int) -> String { "\(layout.temporary)/\(firstNumber + index)" }

        /// Writes and fsyncs the temporary file.
        private func stage(_ index: Int) throws(StoreError) {
            let path = temporary(index)
            try Disk.unlink(path)
            let descriptor = try Disk.create(path, O_WRONLY | O_EXCL, layout.group)
            defer { close(descriptor) }
            do throws(StoreError) {
                switch writes[index].content {
                case .bytes(let bytes): try Disk.write(bytes, to: descriptor, path)
                case .body(let body):
                    try body.withBytes { (bytes) throws(StoreError) in
                        try Disk.write(bytes, to: descriptor, at: 0, path)
                    }
                }
                try Disk.sync(descriptor, path)
            } catch {
                // A leftover file is removed at the next start.
                try? Disk.unlink(path)
                throw error
            }
        }

        private func name(_ index: Int) throws(StoreError) {
            let write = writes[index]
            do throws(StoreError) {
                try Disk.makeDirectories(write.directory, layout.group)
                try Disk.rename(temporary(index), "\(write.directory)/\(write.name)")
            } catch {
                try? Disk.unlink(temporary(index))
                throw error
            }
        }

        private func sync(_ write: Write) throws(StoreError) {
            if write.isKnownDirectory {
                try Disk.syncDirectory(write.directory)
            } else {
                try Disk.syncDirectories(from: write.directory, upTo: layout.root)
            }
        }

        private func failure(_ body: () throws(StoreError) -> Void) -> StoreError? {
            do throws(StoreError) {
                try body()
                return nil
            } catch {
                return error
            }
        }
    }
}
