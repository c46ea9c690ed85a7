// Sends files: by `sendfile` while their pages are in memory; after a read in the pool otherwise, so that the loop
// never waits for a disk; by read and send where the file system has no `sendfile`. A file that is shorter than its
// size, or unreadable, is reported to its owner, and the body ends early; if nothing has been sent yet, another
// response is sent (Connection.Retry).

extension BodyPump {
    /// Sends the file from `position`.
    /// - Parameters:
    ///   - limit: the end of the readable bytes.
    ///   - end: the end of the body; after `limit` for a file that grows.
    func sendFile(_ open: OpenFile, upTo limit: Int64, end: Int64, _ budget: inout Int) -> Step {
        if position == end { return sendHeadAlone(&budget, then: .complete) }
        let reads = sendsByReading || connection.server.hasNoSendfile(open.device)
        if !head.isEmpty, reads || limit - position <= Int64(Server.scratchBytes) {
            return sendHeadAndFirstPiece(open, upTo: limit, end: end, &budget)
        }
        if reads { return sendByReading(open, upTo: limit, &budget) }
        let reach = position < warmUntil ? min(limit, warmUntil) : limit
        // A short rest is sent now, since it is not worth another iteration.
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

    /// Sends the head and the beginning of the body in one write, when the beginning is in memory.
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

    /// Sends the next piece through the scratch buffer.
    private func sendByReading(_ open: OpenFile, upTo limit: Int64, _ budget: inout Int) -> Step {
        let scratch = connection.server.scratch
        let count = readWarm(open, Int(min(Int64(scratch.count), limit - position)))
        if count == 0 { return endShort(open, .tooShort) }
        guard count > 0 else { return readIn(open, upTo: limit) }
        return moved(connection.tryWrite(UnsafeRawBufferPointer(rebasing: scratch[..<count])), &budget)
    }

    // MARK: Damage

    /// Ends a body that cannot be completed.
    func endShort(_ open: OpenFile, _ fault: FileFault) -> Step {
        open.report(fault)
        return .broken
    }

    /// Whether a finished file ends before the body does, as far as the page cache shows without waiting.
    private func isCutOff(_ open: OpenFile, _ end: Int64) -> Bool {
        guard isFile, case .beyondEnd = PageCache.residency(open.descriptor, at: end - 1) else { return false }
        return true
    }

    // MARK: Cold pages

    /// A growing blob's head is sent before its pages are in memory. A finished file's head waits for its first page:
    /// if that cannot be read, another response is sent.
    private func readColdPages(_ open: OpenFile, upTo limit: Int64, end: Int64, _ budget: inout Int) -> Step {
        head.isEmpty || isFile ? readIn(open, upTo: limit) : sendHeadAlone(&budget, then: .again)
    }

    /// Reads bytes at `position` from memory into the scratch buffer; negative when they are not there, 0 at the file's
    /// end.
    func readWarm(_ open: OpenFile, _ wanted: Int) -> Int {
        let scratch = connection.server.scratch
        guard position < warmUntil else { return PageCache.read(open.descriptor, into: scratch, wanted, at: position) }
        // Pages that the pool has just read are read plainly: a file system that cannot report its residency (tmpfs)
        // would otherwise be queried for ever.
        return PageCache.readPlainly(
            open.descriptor, into: scratch, min(wanted, Int(warmUntil - position)), at: position)
    }

    /// Lets the pool read the next pages, so that the loop finds them in memory.
    /// - Parameter limit: the file is at least this long.
    func readIn(_ open: OpenFile, upTo limit: Int64) -> Step {
        isWaiting = true
        let (descriptor, start) = (open.descriptor, position)
        connection.server.offload.run {
            PageCache.fill(descriptor, from: start, end: limit)
        } then: { [self] (result: Result<PageCache.Filled, any Error>) in
            // Retaining the file until here keeps its descriptor open and its number in use while the pool reads it.
            withExtendedLifetime(open) {}
            isWaiting = false
            guard !connection.isClosing else { return }
            switch result {
            case .success(.bytes(let count)):
                warmUntil = start + Int64(count)
                if hasSentNothing { connection.measure.firstByte(now: connection.loop.readClock()) }
                return run()
            case .success(.fault(let fault)): open.report(fault)
            // The pool refuses jobs while the process is exiting.
            case .failure: break
            }
            connection.pumpEnded(self, isComplete: false)
        }
        return .wait
    }
}
