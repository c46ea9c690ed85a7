// The jobs of an ingest: full buffers become jobs of two chains, one that writes and one that hashes, and return to the
// pool when both are done.

extension Ingest {
    /// Passes the waiting buffers that have room to one job, and asks for room for the rest.
    func flush() {
        guard state != .ended, failure == nil else { return }
        let job = takeWithinRoom()
        if waitingBytes > 0, !isAskingForRoom { grow() }
        guard !job.isEmpty else { return }
        writesInFlight += 1
        // The hashing order is kept: the chain that hashes changes only when the other one is idle.
        let isShort = job.reduce(0) { $0 + $1.count } <= Ingest.hashedWithWriteBytes
        if hashing.isIdle, isShort || hashingWrites > 0 {
            writeAndHash(job)
        } else {
            writeBesideHashing(job)
        }
    }

    private func writeAndHash(_ job: [IngestBuffer]) {
        let (writer, hash) = (writer, hash)
        hashingWrites += 1
        chain.attempt({ () throws(StoreError) in
            let offset = try writer.write(job)
            hash.update(job)
            return offset
        }) { [self] result in
            hashingWrites -= 1
            for buffer in job { store.buffers.give(buffer) }
            finishWrite(result)
        }
    }

    private func writeBesideHashing(_ job: [IngestBuffer]) {
        let (writer, hash) = (writer, hash)
        unhashedBuffers += job.count
        // The second of the two jobs returns the buffers.
        var isHalfDone = false
        let ended: () -> Void = { [store] in
            if isHalfDone { for buffer in job { store.buffers.give(buffer) } }
            isHalfDone = true
        }
        hashing.attempt({ () throws(StoreError) in hash.update(job) }) { [self] (_: Result<Void, StoreError>) in
            ended()
            unhashedBuffers -= job.count
            resume()
        }
        chain.attempt({ () throws(StoreError) in try writer.write(job) }) { [self] result in
            ended()
            finishWrite(result)
        }
    }

    func finishWrite(_ result: Result<Int64, StoreError>) {
        writesInFlight -= 1
        switch result {
        case .success(let offset):
            writtenBytes = offset
            file.sizeBytes = offset
            onProgress?()
        case .failure(let error):
            if failure == nil { store.noteFailure(error, bytes: Int64(BufferPool.bufferBytes)) }
            fail(error)
        }
        resume()
    }

    func flushIfIdle() {
        if writesInFlight == 0, unhashedBuffers < Ingest.maximumUnhashedBuffers { flush() }
    }

    private func resume() {
        flushIfIdle()
        guard hasRefused else { return }
        acceptIfRoom()
        if !hasRefused { onDrained?() }
    }

    /// Accepts bytes again, or waits: until its own buffers are written, or for memory of the shared budget.
    func acceptIfRoom() {
        guard full.count < Ingest.maximumWaitingBuffers, memoryTicket == nil, state == .open else { return }
        guard failure == nil, store.backlog.isFull else { return hasRefused = false }
        memoryTicket = store.backlog.whenRoom { [weak self] in self?.memoryFound() }
    }

    private func memoryFound() {
        memoryTicket = nil
        guard full.count < Ingest.maximumWaitingBuffers else { return }
        hasRefused = false
        onDrained?()
    }

    private func takeWithinRoom() -> [IngestBuffer] {
        var job: [IngestBuffer] = []
        while let next = full.first ?? filling, hasRoom(for: handedBytes + Int64(next.count)) {
            handedBytes += Int64(next.count)
            job.append(next)
            if full.isEmpty { filling = nil } else { full.removeFirst() }
        }
        return job
    }
}
