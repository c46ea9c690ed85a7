// Small files (manifests, tags) reach the disk here, in order and in batches: one job writes and fsyncs each under a
// temporary name, renames them in the order given, then fsyncs every directory once.
//
// Crash safety: a file is durable before its name is (fsync before rename), a name is durable before `then` says so
// (fsync of the directory after). A crash in between leaves either the old name's content, or the new content whole. A
// manifest given before the tag that points to it is renamed first. One job at a time means that two writes of one tag
// cannot overtake each other, and that at most one thread of the pool waits for these fsyncs.

internal import DequeModule
internal import Glibc
internal import Logging

/// Directories of this store whose own names are known to be durable, because this process has fsynced them and all
/// above them. Starts empty: a former process may have died between making a directory and fsyncing its parent.
final class DirectoryBook {
    private var durable: Set<String> = []
    func contains(_ directory: String) -> Bool { durable.contains(directory) }
    func add(_ directory: String) { durable.insert(directory) }
}

final class Publisher {
    /// A small file to be.
    struct Write: Sendable {
        enum Content: Sendable {
            case bytes([UInt8])
            /// A manifest's body, which is served from the same memory.
            case body(SharedBody)
        }

        let directory: String
        let name: String
        let content: Content
        /// Removed after the rename: the same manifest under another type.
        var obsolete: String?
        var isKnownDirectory = false

        /// What it holds in memory until it has ended: the content, and about what names and callbacks take.
        var heldBytes: Int {
            switch content {
            case .bytes(let bytes): bytes.count + 1024
            case .body(let body): body.count + 1024
            }
        }
    }

    /// The result of publishing a file.
    enum Outcome: Sendable {
        /// It has its name, and a crash leaves it that.
        case durable
        /// It has its name, but its directory could not be flushed: after a crash it may be missing.
        case named(StoreError)
        /// It has not been written.
        case refused(StoreError)

        var error: StoreError? {
            switch self {
            case .durable: nil
            case .named(let error), .refused(let error): error
            }
        }

        var isNamed: Bool { if case .refused = self { false } else { true } }
    }

    /// Files in one batch: bounds the memory and how long the first waits for the last.
    static let maximumBatch = 64

    private let layout: Layout
    private let directories: DirectoryBook
    private let chain: SerialOffload
    private let memory: MemoryBudget
    private let logger: Logger
    private var waiting: Deque<(write: Write, then: (Outcome) -> Void)> = []
    private var isRunning = false
    private var nextNumber = 0
    /// Files given, and files that are durable or refused.
    private var (givenCount, endedCount) = (0, 0)

    /// - Parameter memory: counts what waits to be written.
    init(layout: Layout, directories: DirectoryBook, memory: MemoryBudget, offload: Offload, logger: Logger) {
        self.layout = layout
        self.directories = directories
        self.memory = memory
        self.logger = logger
        chain = SerialOffload(offload)
    }

    /// Publishes a file. It is never refused for lack of memory: the fetch of a manifest has waited for that before.
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

    /// Calls `then` when every file given so far has ended, one way or the other.
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
            /// Why files that should have gone are still there.
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
                // What stays is removed at the next start.
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
