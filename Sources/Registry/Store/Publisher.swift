// Small files (manifests, tags) reach the disk here, in order and in batches: one job writes and fsyncs each under a
// temporary name, renames them in the order given, then fsyncs every directory once.
//
// Crash safety: a file is durable before its name is (fsync before rename), a name is durable before `then` says so
// (fsync of the directory after). A crash in between leaves either the old name's content, or the new content whole. A
// manifest given before the tag that points to it is renamed first. One job at a time means that two writes of one tag
// cannot overtake each other, and that at most one thread of the pool waits for these fsyncs.

internal import DequeModule
internal import Glibc

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
        let directory: String
        let name: String
        let bytes: [UInt8]
        /// Removed after the rename: the same manifest under another type.
        var obsolete: String?
        var isKnownDirectory = false
    }

    /// Files in one batch: bounds the memory and how long the first waits for the last.
    static let maximumBatch = 64

    private let layout: Layout
    private let directories: DirectoryBook
    private let chain: SerialOffload
    private var waiting: Deque<(write: Write, then: (StoreError?) -> Void)> = []
    private var isRunning = false
    private var nextNumber = 0
    /// Files given, and files that are durable or refused.
    private var (givenCount, endedCount) = (0, 0)

    init(layout: Layout, directories: DirectoryBook, offload: Offload) {
        self.layout = layout
        self.directories = directories
        chain = SerialOffload(offload)
    }

    /// Publishes a file. `then` hears nil when it is durable.
    func publish(_ write: Write, then: @escaping (StoreError?) -> Void) {
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
        _ callers: [(StoreError?) -> Void], _ writes: [Write], _ result: Result<[StoreError?], StoreError>
    ) {
        isRunning = false
        let errors: [StoreError?]
        switch result {
        case .success(let each): errors = each
        case .failure(let error): errors = Array(repeating: error, count: callers.count)
        }
        for (write, error) in zip(writes, errors) where error == nil { directories.add(write.directory) }
        endedCount += callers.count
        for (then, error) in zip(callers, errors) { then(error) }
        startBatch()
    }
}

extension Publisher {
    /// One job's work, off the loop.
    private struct Batch: Sendable {
        let layout: Layout
        let writes: [Write]
        let firstNumber: Int

        func perform() -> [StoreError?] {
            var errors = writes.indices.map { index in outcome { () throws(StoreError) in try stage(index) } }
            for index in writes.indices where errors[index] == nil {
                errors[index] = outcome { () throws(StoreError) in try name(index) }
            }
            var synced: [String: StoreError?] = [:]
            for index in writes.indices where errors[index] == nil {
                let write = writes[index]
                if synced[write.directory] == nil {
                    synced[write.directory] = .some(outcome { () throws(StoreError) in try sync(write) })
                }
                errors[index] = synced[write.directory] ?? nil
                if errors[index] == nil, let obsolete = write.obsolete { try? Disk.unlink(obsolete) }
            }
            return errors
        }

        private func temporary(_ index: Int) -> String { "\(layout.temporary)/\(firstNumber + index)" }

        /// Writes and fsyncs the temporary file.
        private func stage(_ index: Int) throws(StoreError) {
            let path = temporary(index)
            try Disk.unlink(path)
            let descriptor = try Disk.open(path, O_WRONLY | O_CREAT | O_EXCL)
            defer { close(descriptor) }
            do throws(StoreError) {
                try Disk.write(writes[index].bytes, to: descriptor, path)
                try Disk.sync(descriptor, path)
            } catch {
                try? Disk.unlink(path)
                throw error
            }
        }

        private func name(_ index: Int) throws(StoreError) {
            let write = writes[index]
            do throws(StoreError) {
                try Disk.makeDirectories(write.directory)
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

        private func outcome(_ body: () throws(StoreError) -> Void) -> StoreError? {
            do throws(StoreError) {
                try body()
                return nil
            } catch {
                return error
            }
        }
    }
}
