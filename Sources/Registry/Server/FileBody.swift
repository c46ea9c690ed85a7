// How a pump sends a file: by `sendfile` while its pages are in memory; through the pool where they are not, so that
// the loop never waits for a disk; read and sent where the file system has no `sendfile`. A file that turns out to be
// shorter than its size, or unreadable, is reported to its owner, and the body ends short; where nothing has been sent
// yet, another response is sent (Connection.Retry).

extension BodyPump {
    /// Sends on from `position`.
    /// - Parameters:
    ///   - limit: where the file may be read up to.
    ///   - end: where the body ends: behind `limit` for a file that grows.
    func sendFile(_ open: OpenFile, upTo limit: Int64, end: Int64, _ budget: inout Int) -> Step {
        if position == end { return sendHeadAlone(&budget, then: .complete) }
        let reads = sendsByReading || connection.server.hasNoSendfile(open.device)
        if !head.isEmpty, reads || limit - position <= Int64(Server.scratchBytes) {
            return sendHeadAndFirstPiece(open, upTo: limit, end: end, &budget)
        }
        if reads { return sendByReading(open, upTo: limit, &budget) }
        let reach = position < warmUntil ? min(limit, warmUntil) : limit
        // A short rest is not worth another iteration.
        let count = Int(min(reach - position, Int64(budget + Server.scratchBytes)))
        if position >= warmUntil {
            switch PageCache.residency(open.descriptor, count, at: position) {
            case .memory: break
            case .disk: return readColdPages(open, upTo: limit, end: end, &budget)
            case .beyondEnd: return endShort(open, .tooShort)
            }
        }
        if !head.isEmpty {
            if position + Int64(count) < end, isCutOff(open, end) { return endShort(open, .tooShort) }
            let step = sendHeadAlone(&budget, then: .again, moreFollows: true)
            guard case .again = step, !connection.isBlocked else { return step }
        }
        switch connection.sendFile(open.descriptor, offset: position, count: count) {
        case .took(0): return endShort(open, .tooShort)
        case .took(let count): return moved(.took(count), &budget)
        case .full: return moved(.full, &budget)
        case .unsupported:
            connection.server.noteNoSendfile(open.device)
            return .again
        case .failed:
            sendsByReading = true
            return .again
        }
    }

    /// Head and the beginning of the body in one write, where the beginning is in memory.
    private func sendHeadAndFirstPiece(
        _ open: OpenFile, upTo limit: Int64, end: Int64, _ budget: inout Int
    ) -> Step {
        let scratch = connection.server.scratch
        let wanted = Int(min(Int64(scratch.count), limit - position))
        let count = readWarm(open, wanted)
        if count == 0 { return endShort(open, .tooShort) }
        guard count > 0 else { return readColdPages(open, upTo: limit, end: end, &budget) }
        if position + Int64(count) < end, isCutOff(open, end) { return endShort(open, .tooShort) }
        let bytes = head
        head = []
        let piece = UnsafeRawBufferPointer(rebasing: scratch[..<count])
        let taken: Int
        switch bytes.withUnsafeBytes({ connection.tryWrite($0, piece) }) {
        case .failed: return .gone
        case .full: return queueOrBreak(bytes, then: .again)
        case .took(let count): taken = count
        }
        connection.progressed()
        budget -= taken
        if taken < bytes.count { return queueOrBreak(Array(bytes[taken...]), then: .again) }
        position += Int64(taken - bytes.count)
        return position == end ? .complete : .again
    }

    /// The next piece through the scratch buffer.
    private func sendByReading(_ open: OpenFile, upTo limit: Int64, _ budget: inout Int) -> Step {
        let scratch = connection.server.scratch
        let count = readWarm(open, Int(min(Int64(scratch.count), limit - position)))
        if count == 0 { return endShort(open, .tooShort) }
        guard count > 0 else { return readIn(open, upTo: limit) }
        return moved(connection.tryWrite(UnsafeRawBufferPointer(rebasing: scratch[..<count])), &budget)
    }

    // MARK: Damage

    /// This body cannot be completed.
    func endShort(_ open: OpenFile, _ fault: FileFault) -> Step {
        open.report(fault)
        return .broken
    }

    /// Whether a file that no longer grows ends before the body does, as far as is known without waiting.
    private func isCutOff(_ open: OpenFile, _ end: Int64) -> Bool {
        guard isFinished, case .beyondEnd = PageCache.residency(open.descriptor, at: end - 1) else { return false }
        return true
    }

    // MARK: Cold pages

    /// A growing blob's head goes out before its pages are there. That of a finished file waits for the first of them:
    /// if it cannot be read, another response is sent.
    private func readColdPages(_ open: OpenFile, upTo limit: Int64, end: Int64, _ budget: inout Int) -> Step {
        head.isEmpty || isFinished ? readIn(open, upTo: limit) : sendHeadAlone(&budget, then: .again)
    }

    /// Reads at `position` into the scratch buffer what is in memory; negative when it is not, 0 at the file's end.
    func readWarm(_ open: OpenFile, _ wanted: Int) -> Int {
        let scratch = connection.server.scratch
        guard position < warmUntil else { return PageCache.read(open.descriptor, into: scratch, wanted, at: position) }
        // What has just been read in is read plainly: a file system that cannot say what it has in memory (tmpfs) would
        // otherwise be asked for ever.
        return PageCache.readPlainly(
            open.descriptor, into: scratch, min(wanted, Int(warmUntil - position)), at: position)
    }

    /// Has the pool read the next stretch, so that the loop finds it in memory.
    /// - Parameter limit: the file is at least so long.
    func readIn(_ open: OpenFile, upTo limit: Int64) -> Step {
        isWaiting = true
        let (descriptor, start) = (open.descriptor, position)
        connection.server.offload.run {
            PageCache.fill(descriptor, from: start, end: limit)
        } then: { [self] (result: Result<PageCache.Filled, any Error>) in
            // Holding the file until here keeps the descriptor open, and ours, while the pool reads it.
            withExtendedLifetime(open) {}
            isWaiting = false
            guard !connection.isClosing else { return }
            switch result {
            case .success(.bytes(let count)):
                warmUntil = start + Int64(count)
                if hasSentNothing { connection.measure.firstByte(now: connection.loop.readClock()) }
                return run()
            case .success(.fault(let fault)): open.report(fault)
            // The pool has refused the job: the process is ending.
            case .failure: break
            }
            connection.pumpEnded(self, isComplete: false)
        }
        return .wait
    }
}
