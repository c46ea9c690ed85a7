// An answer that is written while the command that it reports on is running: lines come when there is something to say,
// and the reader gets them as they come, in chunks. The client ends it by leaving, or by saying that it has nothing
// more to send.

/// Lines on their way to one reader.
package final class LineFeed {
    /// Most lines' bytes put into one chunk.
    static let chunkBytes = 64 * 1024

    private var waiting: [UInt8] = []
    private var isEnded = false
    private var reader: (any GrowingReader)?
    /// Told once, when the reader has left or wants the end.
    package var onLeave: (() -> Void)?

    package init() {}

    /// Whether the reader has been given everything so far.
    package var isDrained: Bool { waiting.isEmpty }

    /// Adds bytes to be sent.
    package func add(_ bytes: [UInt8]) {
        guard !isEnded else { return }
        waiting += bytes
        wake()
    }

    /// Nothing more will come: with what is waiting, the answer is whole.
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

    /// One call wakes it once.
    func park(_ reader: any GrowingReader) { self.reader = reader }

    func leave() {
        let leave = onLeave
        onLeave = nil
        leave?()
    }
}
