// Bodies of initially unknown length: a blob whose upstream states no size, and lines that report on a running job.
// They are sent in chunks; the last, empty chunk marks a complete body.

extension BodyPump {
    func followInChunks(_ blob: GrowingBlob, _ budget: inout Int) -> Step {
        guard isCompatible(with: blob), blob.window.map({ attach(to: $0) }) ?? true else { return .broken }
        if !head.isEmpty { return sendHeadAlone(&budget, then: .again) }
        let limit = blob.readableBytes
        if position < limit, let window = blob.window { return sendChunk(of: window, upTo: limit, &budget) }
        guard position < limit, let file = blob.file else {
            switch blob.phase {
            case .failed: return .broken
            case .complete: return queueOrBreak(ChunkFraming.last, then: .complete)
            case .asking, .growing: return park(on: blob)
            }
        }
        let scratch = connection.server.scratch
        let count = readWarm(file, min(scratch.count, Int(limit - position)))
        guard count > 0 else { return count == 0 ? endShort(file, .tooShort) : readIn(file, upTo: limit) }
        position += Int64(count)
        budget -= count
        return queueOrBreak(
            ChunkFraming.head(byteCount: count) + scratch[..<count] + ChunkFraming.tail, then: .again)
    }

    private func sendChunk(of window: PassingWindow, upTo limit: Int64, _ budget: inout Int) -> Step {
        guard let bytes = window.bytes(from: position, upTo: limit) else { return .broken }
        position += Int64(bytes.count)
        budget -= bytes.count
        let step = queueOrBreak(ChunkFraming.head(byteCount: bytes.count) + bytes + ChunkFraming.tail, then: .again)
        window.advance(self, to: position)
        return step
    }

    func follow(_ feed: LineFeed, _ budget: inout Int) -> Step {
        if !head.isEmpty { return sendHeadAlone(&budget, then: .again) }
        switch feed.next() {
        case .end: return queueOrBreak(ChunkFraming.last, then: .complete)
        case .nothingYet:
            isWaiting = true
            feed.park(self)
            return .wait
        case .bytes(let piece):
            position += Int64(piece.count)
            budget -= piece.count
            return queueOrBreak(
                ChunkFraming.head(byteCount: piece.count) + piece + ChunkFraming.tail, then: .again)
        }
    }
}
