// A part of an ingest's file that is written ahead of the ingest's own position. Its writes run in the ingest's chain
// of jobs, so no two writes overlap in time, and bytes that are received again overwrite a given-up span, never the
// reverse. When the ingest reaches the span, it takes it over by hashing it from the file.

internal import OCI

/// One span being written. Its owner ends it (`finish` or `cancel`) before the ingest ends.
package final class IngestSpan {
    /// Full buffers that may wait while a job runs.
    static let maximumWaitingBuffers = 2

    /// The end of the bytes in the file.
    package private(set) var writtenEnd: Int64
    /// Called when `writtenEnd` has grown.
    package var onProgress: (() -> Void)?
    /// Called when `append` may be called again after it returned false.
    package var onDrained: (() -> Void)?
    /// Called once when a write has failed; nothing more is written.
    package var onFailure: (() -> Void)?

    private let ingest: Ingest
    private var store: Store { ingest.store }
    /// The end of the bytes passed to jobs.
    private var handedEnd: Int64
    private var filling: IngestBuffer?
    private var full: [IngestBuffer] = []
    private var isWriting = false
    private var isPaused = false
    private var isOver = false
    private var memoryTicket: Int?
    private var whenWritten: (() -> Void)?

    /// - Parameter first: the offset of its first byte. The ingest has room for its end.
    package init(of ingest: Ingest, first: Int64) {
        self.ingest = ingest
        writtenEnd = first
        handedEnd = first
    }

    /// Takes a copy of the bytes.
    /// - Returns: false when the caller should pause until `onDrained`; these bytes count as taken.
    package func append(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard !isOver else { return true }
        store.buffers.copy(bytes, into: &filling, &full)
        write()
        isPaused = true
        acceptIfRoom()
        return !isPaused
    }

    /// Writes what is left, and calls `then` later. If a write fails, `onFailure` is called instead.
    package func finish(then: @escaping () -> Void) {
        guard !isOver else { return store.loop.deferred.enqueue(then) }
        whenWritten = then
        write()
        endIfWritten()
    }

    /// Drops what has not been passed to a job.
    package func cancel() {
        guard !isOver else { return }
        end()
    }

    private func end() {
        isOver = true
        for buffer in full { store.buffers.give(buffer) }
        if let filling { store.buffers.give(filling) }
        full = []
        filling = nil
        if let memoryTicket { store.backlog.cancel(memoryTicket) }
        memoryTicket = nil
        (onProgress, onDrained, onFailure, whenWritten) = (nil, nil, nil, nil)
    }

    private func endIfWritten() {
        guard !isWriting, full.isEmpty, filling == nil, let then = whenWritten else { return }
        end()
        store.loop.deferred.enqueue(then)
    }

    private func write() {
        guard !isWriting, !isOver else { return }
        let job = full + (filling.map { [$0] } ?? [])
        guard !job.isEmpty else { return }
        full = []
        filling = nil
        isWriting = true
        let (writer, offset) = (ingest.writer, handedEnd)
        handedEnd += job.reduce(0) { $0 + Int64($1.count) }
        ingest.chain.attempt({ () throws(StoreError) in try writer.write(job, ahead: offset) }) { [self] result in
            isWriting = false
            for buffer in job { store.buffers.give(buffer) }
            guard !isOver else { return }
            written(result)
        }
    }

    private func written(_ result: Result<Int64, StoreError>) {
        guard case .success(let end) = result else {
            if let error = result.failure { store.noteFailure(error) }
            let report = onFailure
            self.end()
            report?()
            return
        }
        writtenEnd = end
        onProgress?()
        write()
        acceptIfRoom()
        endIfWritten()
    }

    /// Accepts bytes again, or waits: until its own buffers are written, or for memory of the shared budget.
    private func acceptIfRoom() {
        guard isPaused, full.count < IngestSpan.maximumWaitingBuffers, memoryTicket == nil, !isOver else { return }
        guard store.backlog.isFull else {
            isPaused = false
            onDrained?()
            return
        }
        memoryTicket = store.backlog.whenRoom { [weak self] in self?.memoryFound() }
    }

    /// It is its turn: whether the budget is full for others is not asked again.
    private func memoryFound() {
        memoryTicket = nil
        guard full.count < IngestSpan.maximumWaitingBuffers, !isOver else { return }
        isPaused = false
        onDrained?()
    }
}

extension Ingest {
    /// Bytes hashed in one job, as in a resumed file.
    static let takenStepBytes = IngestWriter.rehashStepBytes

    /// Takes over bytes that the file has ahead, up to `end`: hashes them, in order after all bytes so far. The content
    /// continues at `end`. A failure is reported by `onFailure`, and `then` is not called.
    package func take(upTo end: Int64, then: @escaping () -> Void) {
        guard state == .open, failure == nil else { return }
        flush()
        guard waitingBytes == 0 else {
            return whenHandedOver { [self] in take(upTo: end, then: then) }
        }
        // The hashing chain has to be idle: from here on, jobs in the chain that writes hash what they read.
        hashing.attempt({ () throws(StoreError) in }) { [self] (_: Result<Void, StoreError>) in
            takeStep(upTo: end, then)
        }
    }

    private func takeStep(upTo end: Int64, _ then: @escaping () -> Void) {
        guard state == .open, failure == nil else { return }
        let step = min(end, handedBytes.addingSaturated(Ingest.takenStepBytes))
        let writer = writer
        handedBytes = step
        writesInFlight += 1
        hashingWrites += 1
        chain.attempt({ () throws(StoreError) in try writer.take(upTo: step) }) { [self] result in
            hashingWrites -= 1
            finishWrite(result)
            guard failure == nil else { return }
            if step < end { takeStep(upTo: end, then) } else { then() }
        }
    }
}
