// A blob being written. Bytes arrive on the loop, are written and hashed in the pool, and are read by any number of
// readers through the same descriptor while the file grows. Writing and hashing are two job chains over the same
// buffers, so that a fast upstream's content takes the time of the longer one, not of both.
//
// Crash safety: until `commit` the file has a name under partial/ that is never served. `verify` compares the hash of
// exactly the bytes that were written, in order, with the digest. Only after that `commit` does fsync, rename and fsync
// of the directory, in that order. So a file under a final name always hashes to its name, whenever the process or the
// machine stops. A file left under partial/ is hashed again before bytes are added, since its end may be incomplete.
// Two ingests of one digest (from two upstreams) may both commit: the second rename replaces the file by the same
// content.

internal import Logging

/// One blob being written. Its disk operations are one serial chain, its hashing another.
package final class Ingest {
    /// Full buffers that may wait while a job runs; together with the jobs' buffers this bounds an ingest to about 3
    /// MiB.
    static let maximumWaitingBuffers = 4
    /// When this many buffers wait to be hashed, nothing more is written, so that hashing can catch up.
    static let maximumUnhashedBuffers = 4
    /// Up to this size, the job that writes the bytes also hashes them: a second job would take longer than the
    /// hashing.
    static let hashedWithWriteBytes = 64 * 1024

    package let key: PullKey
    /// The file for readers: `pread` and `sendfile` of `descriptor`, up to `writtenBytes`.
    package let file: OpenFile
    /// Bytes in the file, contiguous from the start; the hash may be behind.
    package internal(set) var writtenBytes: Int64
    /// Bytes that the file had at the start: the offset to resume from.
    package let offsetBytes: Int64

    /// Called when `writtenBytes` has grown.
    package var onProgress: (() -> Void)?
    /// Called when `append` may be called again after it returned false.
    package var onDrained: (() -> Void)?
    /// Called once, when a write has failed; nothing more is written.
    package var onFailure: ((StoreError) -> Void)?

    enum State { case open, verified, ended }

    let store: Store
    let writer: IngestWriter
    let chain: SerialOffload
    let hash: IngestHash
    let hashing: SerialOffload
    private(set) var state = State.open
    var failure: StoreError?
    var filling: IngestBuffer?
    var full: [IngestBuffer] = []
    var writesInFlight = 0
    /// Running jobs that hash what they write.
    var hashingWrites = 0
    /// Buffers that a job of the hashing chain must still hash.
    var unhashedBuffers = 0
    var hasRefused = false
    /// Its position in the queue for memory, while it waits.
    var memoryTicket: Int?
    /// Bytes passed to jobs, including those that the file had at the start.
    var handedBytes: Int64
    /// Room reserved in the store's budget, beyond the file's bytes at the start.
    var reservedBytes: Int64 = 0
    /// Whether it waits for room; bytes without room are not written.
    var isAskingForRoom = false
    /// Called when the last bytes have room.
    private var whenHanded: (() -> Void)?

    init(store: Store, key: PullKey, file: OpenFile, writer: IngestWriter) {
        self.store = store
        self.key = key
        self.file = file
        self.writer = writer
        hash = writer.hash
        chain = SerialOffload(store.offload)
        hashing = SerialOffload(store.offload)
        writtenBytes = file.sizeBytes
        offsetBytes = file.sizeBytes
        handedBytes = file.sizeBytes
        file.onFault = { [weak self] _, fault in self?.fileHasFault(fault) }
    }

    /// Handles a reader's fault: the file no longer holds what was written and hashed.
    private func fileHasFault(_ fault: FileFault) {
        // After the end the store handles faults, see `Store.addBlob`.
        guard state != .ended else { return }
        let error = StoreError.unusable(path: writer.path, reason: fault.text(sizeBytes: writtenBytes))
        store.logger.error("store: \(error)", metadata: ["digest": "\(key.digest)"])
        // Deferred, since the reader that reported it is on the call stack.
        store.loop.deferred.enqueue { [self] in fail(error) }
    }

    deinit {
        // Released without an end: the file stays as after `suspend`. No job can be running, since each retains the
        // ingest.
        dropWaiting()
        if state != .ended {
            releaseRoom(keptBytes: writtenBytes)
            store.ingestEnded(key)
        }
    }

    /// Takes a copy of the bytes. A job starts at once if none is running, so that a slow upstream's bytes reach
    /// readers without delay; during a job a fast upstream's bytes are collected.
    /// - Returns: false when the caller should pause until `onDrained`; these bytes count as taken.
    package func append(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard state == .open, failure == nil else { return true }
        store.buffers.copy(bytes, into: &filling, &full)
        flushIfIdle()
        hasRefused = true
        acceptIfRoom()
        return !hasRefused
    }

    /// Writes the remaining bytes and compares the digest. `then` gets whether it is the key's.
    package func verify(then: @escaping (Result<Bool, StoreError>) -> Void) {
        guard state != .ended else { return store.loop.deferred.complete(then, .failure(.closed)) }
        flush()
        guard waitingBytes == 0 else {
            return whenHanded = { [self] in verify(then: then) }
        }
        if let failure { return store.loop.deferred.complete(then, .failure(failure)) }
        let (writer, hash) = (writer, hash)
        chain.attempt({ () throws(StoreError) in try writer.check() }) { [self] result in
            if let error = result.failure { return then(.failure(error)) }
            hashing.attempt({ () throws(StoreError) in hash.digest() }) { [self] result in
                let matches = result.map { $0 == key.digest }
                if state == .open, case .success(true) = matches { state = .verified }
                then(matches)
            }
        }
    }

    /// Calls `action` when the last bytes have been passed to a job.
    func whenHandedOver(_ action: @escaping () -> Void) { whenHanded = action }

    /// Makes the verified content durable under its final name. Ends this ingest, whatever the result.
    package func commit(then: @escaping (Result<OpenFile, StoreError>) -> Void) {
        guard state == .verified else {
            return store.loop.deferred.complete(then, .failure(state == .ended ? .closed : .notVerified))
        }
        end()
        store.workBegins()
        store.afterPendingRemoval(key.digest) { [self] in
            store.syncs.enter { self.publish(then) }
        }
    }

    /// Discards the written bytes and begins with an empty file; readers keep the old file. Ends this ingest.
    package func restart(then: @escaping (Result<Ingest, StoreError>) -> Void) {
        guard state != .ended else { return store.loop.deferred.complete(then, .failure(.closed)) }
        end()
        let (path, layout) = (writer.path, store.layout)
        store.workBegins()
        chain.attempt({ () throws(StoreError) -> (Result<OpenedPartial, StoreError>, leftBytes: Int64) in
            let result = Result { () throws(StoreError) in try OpenedPartial.openFresh(path, layout) }
            return (result, result.failure == nil ? 0 : OpenedPartial.bytes(at: path))
        }) { [self] result in
            let (opened, leftBytes) = (try? result.get()) ?? (.failure(result.failure ?? .closed), writtenBytes)
            releaseRoom(keptBytes: leftBytes)
            switch opened {
            case .success(let opened): then(.success(store.makeIngest(key, opened, path: path)))
            case .failure(let error):
                store.ingestEnded(key)
                then(.failure(error))
            }
            store.workEnds()
        }
    }

    /// Ends this ingest and keeps its bytes for a later ingest of the same key.
    package func suspend() {
        guard state != .ended else { return }
        flush()
        let writer = writer
        endAfter { writer.suspend() }
    }

    /// Ends this ingest and removes its file; readers that still hold the descriptor find it empty.
    package func discard() {
        guard state != .ended else { return }
        let writer = writer
        endAfter { writer.discard() }
    }
}

extension Ingest {
    /// Bytes that have not been passed to a job yet.
    var waitingBytes: Int64 { full.reduce(Int64(filling?.count ?? 0)) { $0 + Int64($1.count) } }

    /// Continues after a request for room: there is room now, or an error has made it unnecessary.
    func resumeAfterReservation() {
        flush()
        guard waitingBytes == 0, let action = whenHanded else { return }
        whenHanded = nil
        action()
    }

    func fail(_ error: StoreError) {
        guard failure == nil else { return }
        failure = error
        dropWaiting()
        let report = onFailure
        onFailure = nil
        report?(error)
    }

    private func dropWaiting() {
        for buffer in full { store.buffers.give(buffer) }
        if let filling { store.buffers.give(filling) }
        full = []
        filling = nil
        if let memoryTicket { store.backlog.cancel(memoryTicket) }
        memoryTicket = nil
    }

    /// Ends the ingest; after this only `file` may be used.
    private func end() {
        state = .ended
        dropWaiting()
        onProgress = nil
        onDrained = nil
        onFailure = nil
    }

    private func endAfter(_ work: @escaping @Sendable () -> IngestEnd) {
        end()
        store.workBegins()
        chain.attempt({ () throws(StoreError) in work() }) { [self] result in
            let end = ended(result)
            for error in end.errors { store.logger.error("store: partial of \(key.digest): \(error)") }
            store.ingestEnded(key)
            store.workEnds()
        }
    }

    /// Releases unused room, and counts what is left of the file.
    private func ended(_ result: Result<IngestEnd, StoreError>) -> IngestEnd {
        let end: IngestEnd
        switch result {
        case .success(let value): end = value
        // The pool refused the job, so the file is unchanged.
        case .failure(let error): end = IngestEnd(keptBytes: writtenBytes, errors: [error])
        }
        releaseRoom(keptBytes: end.keptBytes)
        store.evictionBackOff.pullEnded(isStored: end.isNamed, now: store.loop.nowMilliseconds)
        return end
    }

    private func publish(_ then: @escaping (Result<OpenFile, StoreError>) -> Void) {
        let writer = writer
        let layout = store.layout
        let digest = key.digest
        let directory = layout.blobDirectory(digest)
        let isKnown = store.directories.contains(directory)
        chain.attempt({ () throws(StoreError) in
            writer.publish(as: layout.blob(digest), in: directory, isKnownDirectory: isKnown, layout: layout)
        }) { [self] result in
            store.syncs.leave()
            let end = ended(result)
            if end.errors.isEmpty { store.directories.add(directory) }
            // Content with its final name takes room and can be served, even if a crash could still lose the name.
            if end.isNamed {
                store.addBlob(digest, file)
                store.addProof(digest, host: key.host, repository: key.repository)
                store.blobMayBecomeOrphan()
            }
            store.keepBelowBudget()
            if let error = end.errors.first { store.noteFailure(error) }
            for error in end.errors.dropFirst() { store.logger.error("store: partial of \(key.digest): \(error)") }
            store.ingestEnded(key)
            then(end.errors.first.map { .failure($0) } ?? .success(file))
            store.workEnds()
        }
    }
}

extension Result {
    /// The error, if this is a failure.
    var failure: Failure? {
        if case .failure(let error) = self { error } else { nil }
    }
}
