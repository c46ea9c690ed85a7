// A write in progress: bytes come in on the loop, are hashed and written in the pool, and are read by any number of
// readers through the same descriptor while the file grows.
//
// Crash safety: until `commit` the file has a name under partial/ that nobody serves from. `verify` compares the hash
// of exactly the bytes that were written, in order, with the digest; `commit` runs only after that, and does fsync,
// rename, fsync of the directory, in that order. So a file under a final name always hashes to its name, whenever the
// process or the machine stops; and what a crash leaves under partial/ is hashed again before a byte is added, its end
// being whatever reached the disk. Two ingests of one digest (from two upstreams) may both commit: the second rename
// puts the same content in the place of the first.

internal import Logging

/// One blob being written. All of its disk work is one serial chain.
package final class Ingest {
    /// Full buffers that may wait while a job runs; with that job's own this bounds an ingest to about 2 MiB.
    static let maximumWaitingBuffers = 4

    package let key: PullKey
    /// What readers read: `pread` and `sendfile` of `descriptor`, up to `writtenBytes`.
    package let file: OpenFile
    /// Bytes in the file and in the hash, contiguous from the start.
    package private(set) var writtenBytes: Int64
    /// Bytes that were there when this began: where to resume from.
    package let offsetBytes: Int64

    /// `writtenBytes` has grown.
    package var onProgress: (() -> Void)?
    /// `append` had said false and may be called again.
    package var onDrained: (() -> Void)?
    /// The disk refused a write; nothing further will be written. Called once.
    package var onFailure: ((StoreError) -> Void)?

    private enum State { case open, verified, ended }

    private let store: Store
    private let writer: IngestWriter
    private let chain: SerialOffload
    private var state = State.open
    private var failure: StoreError?
    private var filling: IngestBuffer?
    private var full: [IngestBuffer] = []
    private var writesInFlight = 0
    private var hasRefused = false
    /// Room the store's budget keeps for this.
    private var reservedBytes: Int64 = 0

    init(store: Store, key: PullKey, file: OpenFile, writer: IngestWriter, chain: SerialOffload) {
        self.store = store
        self.key = key
        self.file = file
        self.writer = writer
        self.chain = chain
        writtenBytes = file.sizeBytes
        offsetBytes = file.sizeBytes
    }

    deinit {
        // Dropped without a word: the file stays as if suspended. No job can be under way, each holds the ingest.
        if state != .ended {
            store.reservedBytes -= reservedBytes
            store.ingestEnded(key)
        }
    }

    /// Reserves room for the whole content. `then` hears nil, or why there is none (`isNoSpace`).
    package func reserve(totalBytes: Int64, then: @escaping (StoreError?) -> Void) {
        let bytes = max(0, totalBytes - offsetBytes)
        store.admit(bytes) { [self] error in
            // Ended meanwhile: the promise goes back at once.
            guard state != .ended else { return then(.closed) }
            guard error == nil else { return finishReserving(error, bytes, then) }
            store.reservedBytes += bytes - reservedBytes
            reservedBytes = bytes
            reserveOnDisk(totalBytes, mayEvict: true, then)
        }
    }

    /// A disk that has no room although the budget has: others use it too. Once, images leave for that as well.
    private func reserveOnDisk(_ totalBytes: Int64, mayEvict: Bool, _ then: @escaping (StoreError?) -> Void) {
        let writer = writer
        let bytes = max(0, totalBytes - offsetBytes)
        chain.attempt({ () throws(StoreError) in try writer.reserve(totalBytes: totalBytes) }) { [self] result in
            guard mayEvict, result.failure?.isNoSpace == true, store.mayEvict else {
                return finishReserving(result.failure, bytes, then)
            }
            store.evict(bytes) { [self] in reserveOnDisk(totalBytes, mayEvict: false, then) }
        }
    }

    private func finishReserving(_ error: StoreError?, _ bytes: Int64, _ then: (StoreError?) -> Void) {
        if let error { store.noteFailure(error, bytes: bytes) } else { store.noteRoom(for: bytes) }
        then(error)
    }

    /// Takes bytes. They are copied; a job starts at once when none is under way, so that a slow upstream's bytes reach
    /// readers without delay, and a fast one's gather meanwhile.
    /// - Returns: false when the caller should pause until `onDrained`. The bytes have been taken all the same.
    package func append(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard state == .open, failure == nil else { return true }
        var rest = bytes
        while !rest.isEmpty {
            let buffer = filling ?? store.buffers.take()
            filling = buffer
            rest = UnsafeRawBufferPointer(rebasing: rest[buffer.take(rest)...])
            if buffer.isFull {
                full.append(buffer)
                filling = nil
            }
        }
        if writesInFlight == 0 { flush() }
        hasRefused = full.count >= Ingest.maximumWaitingBuffers
        return !hasRefused
    }

    /// Writes what is left and compares the digest. `then` hears whether it is the key's.
    package func verify(then: @escaping (Result<Bool, StoreError>) -> Void) {
        guard state != .ended else { return then(.failure(.closed)) }
        flush()
        let writer = writer
        chain.attempt({ () throws(StoreError) in try writer.digest() }) { [self] result in
            let matches = result.map { $0 == key.digest }
            if state == .open, case .success(true) = matches { state = .verified }
            then(matches)
        }
    }

    /// Makes the verified content durable under its final name. Ends this ingest, whatever comes of it.
    package func commit(then: @escaping (Result<OpenFile, StoreError>) -> Void) {
        guard state == .verified else { return then(.failure(state == .ended ? .closed : .notVerified)) }
        end()
        store.workBegins()
        store.whenNotCondemned(key.digest) { [self] in
            store.syncs.enter { self.publish(then) }
        }
    }

    /// Gives up what was written and begins again with an empty file; readers of the old one keep it. Ends this ingest.
    package func restart(then: @escaping (Result<Ingest, StoreError>) -> Void) {
        guard state != .ended else { return then(.failure(.closed)) }
        end()
        let path = writer.path
        store.workBegins()
        chain.attempt({ () throws(StoreError) in try OpenedPartial.openFresh(path) }) { [self] result in
            switch result {
            case .success(let opened): then(.success(store.makeIngest(key, opened, path: path)))
            case .failure(let error):
                store.ingestEnded(key)
                then(.failure(error))
            }
            releaseRoom()
            store.workEnds()
        }
    }

    /// Ends this ingest and keeps what has arrived for a later one of the same key.
    package func suspend() {
        guard state != .ended else { return }
        flush()
        let writer = writer
        endAfter { () throws(StoreError) in try writer.suspend() }
    }

    /// Ends this ingest and removes its file; a reader that still holds the descriptor finds it empty.
    package func discard() {
        guard state != .ended else { return }
        let writer = writer
        endAfter { () throws(StoreError) in try writer.discard() }
    }
}

extension Ingest {
    /// Hands everything that waits to one job.
    private func flush() {
        var buffers = full
        full = []
        if let last = filling { buffers.append(last) }
        filling = nil
        guard !buffers.isEmpty else { return }
        writesInFlight += 1
        let job = buffers
        let writer = writer
        chain.attempt({ () throws(StoreError) in try writer.write(job) }) { [self] result in
            for buffer in job { store.buffers.give(buffer) }
            finishWrite(result)
        }
    }

    private func finishWrite(_ result: Result<Int64, StoreError>) {
        writesInFlight -= 1
        switch result {
        case .success(let offset):
            writtenBytes = offset
            file.sizeBytes = offset
            onProgress?()
        case .failure(let error):
            fail(error)
        }
        if writesInFlight == 0 { flush() }
        if hasRefused, full.count < Ingest.maximumWaitingBuffers {
            hasRefused = false
            onDrained?()
        }
    }

    private func fail(_ error: StoreError) {
        guard failure == nil else { return }
        failure = error
        store.noteFailure(error, bytes: Int64(BufferPool.bufferBytes))
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
    }

    /// No call but reads of `file` mean anything from here on.
    private func end() {
        state = .ended
        dropWaiting()
        onProgress = nil
        onDrained = nil
        onFailure = nil
    }

    /// The room is taken by now, or not wanted any more.
    private func releaseRoom() {
        store.reservedBytes -= reservedBytes
        reservedBytes = 0
    }

    private func endAfter(_ work: @escaping @Sendable () throws(StoreError) -> Void) {
        end()
        store.workBegins()
        chain.attempt(work) { [self] result in
            if let error = result.failure { store.logger.error("store: partial of \(key.digest): \(error)") }
            releaseRoom()
            store.ingestEnded(key)
            store.workEnds()
        }
    }

    private func publish(_ then: @escaping (Result<OpenFile, StoreError>) -> Void) {
        let writer = writer
        let layout = store.layout
        let digest = key.digest
        let directory = layout.blobDirectory(digest)
        let isKnown = store.directories.contains(directory)
        chain.attempt({ () throws(StoreError) in
            try writer.publish(
                as: layout.blob(digest), in: directory, isKnownDirectory: isKnown, root: layout.root)
        }) { [self] result in
            store.syncs.leave()
            if case .success = result {
                store.directories.add(directory)
                store.addBlob(digest, file)
            }
            releaseRoom()
            store.keepBelowBudget()
            if let error = result.failure { store.noteFailure(error) }
            store.ingestEnded(key)
            then(result.map { file })
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
