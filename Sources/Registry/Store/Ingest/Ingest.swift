// A write in progress: bytes come in on the loop, are written and hashed in the pool, and are read by any number of
// readers through the same descriptor while the file grows. Writing and hashing are two chains of jobs over the same
// buffers, so that a fast upstream's content takes the time of the longer, not of both.
//
// Crash safety: until `commit` the file has a name under partial/ that nobody serves from. `verify` compares the hash
// of exactly the bytes that were written, in order, with the digest; `commit` runs only after that, and does fsync,
// rename, fsync of the directory, in that order. So a file under a final name always hashes to its name, whenever the
// process or the machine stops; and what a crash leaves under partial/ is hashed again before a byte is added, its end
// being whatever reached the disk. Two ingests of one digest (from two upstreams) may both commit: the second rename
// puts the same content in the place of the first.

internal import Logging

/// One blob being written. All of its disk work is one serial chain, all of its hashing another.
package final class Ingest {
    /// Full buffers that may wait while a job runs; with those of the jobs this bounds an ingest to about 3 MiB.
    static let maximumWaitingBuffers = 4
    /// Buffers still to be hashed at which nothing more is written, so that hashing is not left behind.
    static let maximumUnhashedBuffers = 4
    /// Up to so many bytes are hashed by the job that writes them: a second one would take longer than they do.
    static let hashedWithWriteBytes = 64 * 1024

    package let key: PullKey
    /// What readers read: `pread` and `sendfile` of `descriptor`, up to `writtenBytes`.
    package let file: OpenFile
    /// Bytes in the file, contiguous from the start; the hash may be behind.
    package internal(set) var writtenBytes: Int64
    /// Bytes that were there when this began: where to resume from.
    package let offsetBytes: Int64

    /// `writtenBytes` has grown.
    package var onProgress: (() -> Void)?
    /// `append` had said false and may be called again.
    package var onDrained: (() -> Void)?
    /// The disk refused a write; nothing further will be written. Called once.
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
    /// Jobs under way that hash what they write.
    var hashingWrites = 0
    /// Buffers that a job of the other chain has to hash.
    var unhashedBuffers = 0
    var hasRefused = false
    /// Waits in the queue for memory.
    var memoryTicket: Int?
    /// Bytes given to jobs, those that were there included.
    var handedBytes: Int64
    /// Room the store's budget keeps for this, beyond what was there.
    var reservedBytes: Int64 = 0
    /// Room is being made: nothing is written that has none.
    var isAskingForRoom = false
    /// Waits for the last bytes to have room.
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

    /// A reader has found less in the file than was written to it. What it holds is not what was hashed.
    private func fileHasFault(_ fault: FileFault) {
        // Afterwards the store handles faults, see `Store.addBlob`.
        guard state != .ended else { return }
        let error = StoreError.unusable(path: writer.path, reason: fault.text(sizeBytes: writtenBytes))
        store.logger.error("store: \(error)", metadata: ["digest": "\(key.digest)"])
        // A reader is in the middle of its step.
        store.loop.deferred.enqueue { [self] in fail(error) }
    }

    deinit {
        // Dropped without a word: the file stays as if suspended. No job can be under way, each holds the ingest.
        dropWaiting()
        if state != .ended {
            releaseRoom(keptBytes: writtenBytes)
            store.ingestEnded(key)
        }
    }

    /// Takes bytes. They are copied; a job starts at once when none is under way, so that a slow upstream's bytes reach
    /// readers without delay, and a fast one's gather meanwhile.
    /// - Returns: false when the caller should pause until `onDrained`. The bytes have been taken all the same.
    package func append(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard state == .open, failure == nil else { return true }
        var rest = bytes
        while !rest.isEmpty {
            let buffer = filling ?? store.buffers.take(for: rest.count)
            filling = buffer
            rest = UnsafeRawBufferPointer(rebasing: rest[buffer.take(rest)...])
            if buffer.isFull {
                full.append(buffer)
                filling = nil
            }
        }
        flushIfIdle()
        hasRefused = true
        acceptIfRoom()
        return !hasRefused
    }

    /// Writes what is left and compares the digest. `then` gets whether it is the key's.
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

    /// Makes the verified content durable under its final name. Ends this ingest, whatever comes of it.
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

    /// Gives up what was written and begins again with an empty file; readers of the old one keep it. Ends this ingest.
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

    /// Ends this ingest and keeps what has arrived for a later one of the same key.
    package func suspend() {
        guard state != .ended else { return }
        flush()
        let writer = writer
        endAfter { writer.suspend() }
    }

    /// Ends this ingest and removes its file; a reader that still holds the descriptor finds it empty.
    package func discard() {
        guard state != .ended else { return }
        let writer = writer
        endAfter { writer.discard() }
    }
}

extension Ingest {
    /// Bytes that no job has been given yet.
    var waitingBytes: Int64 { full.reduce(Int64(filling?.count ?? 0)) { $0 + Int64($1.count) } }

    /// There is room, or an error has made it needless: what waited for it continues.
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

    /// No call but reads of `file` mean anything from here on.
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

    /// Gives back what is not needed any more, and counts what is left.
    private func ended(_ result: Result<IngestEnd, StoreError>) -> IngestEnd {
        let end: IngestEnd
        switch result {
        case .success(let value): end = value
        // The pool's refusal: the file is as it was.
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
            // Content that has its name takes room and can be served, whatever a crash would make of the name.
            if end.isNamed {
                store.addBlob(digest, file)
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
    /// The error, if this is one.
    var failure: Failure? {
        if case .failure(let error) = self { error } else { nil }
    }
}
