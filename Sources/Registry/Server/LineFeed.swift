// A response written while its command runs: lines are added as events happen and sent in chunks as they arrive. The
// client ends it by disconnecting, or by shutting down its sending side.

/// Lines to send to one client.
package final class LineFeed {
    /// Most bytes of lines in one chunk.
    static let chunkBytes = 64 * 1024

    private var waiting: [UInt8] = []
    private var isEnded = false
    private var reader: (any GrowingReader)?
    /// Called once when the client has left or ended the feed.
    package var onLeave: (() -> Void)?

    package init() {}

    /// Whether all lines so far have been sent.
    package var isDrained: Bool { waiting.isEmpty }

    /// Adds bytes to be sent.
    package func add(_ bytes: [UInt8]) {
        guard !isEnded else { return }
        waiting += bytes
        wake()
    }

    /// Ends the feed: the response is complete after the waiting lines.
    package func end() {
        isEnded = true
        onLeave = nil
        wake()
    }

    private func wake() {
        let reader = self.reader
        self.reader = nil
        reader?.growingBlobAdvanced()
    }

    // MARK: The reader

    enum Piece {
        case bytes([UInt8])
        case nothingYet
        case end
    }

    func next() -> Piece {
        guard !waiting.isEmpty else { return isEnded ? .end : .nothingYet }
        let piece = Array(waiting.prefix(LineFeed.chunkBytes))
        waiting.removeFirst(piece.count)
        return .bytes(piece)
    }

    /// Registers a reader, which the next change wakes once.
    func park(_ reader: any GrowingReader) { self.reader = reader }

    func leave() {
        let leave = onLeave
        onLeave = nil
        leave?()
    }
}
