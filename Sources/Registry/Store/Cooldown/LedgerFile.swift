// `LEDGER`, the file of the ledger of `cooldown` (a `LineFile`): lines of `LedgerLine`. All functions block.

internal import OCI

/// Reads and writes `LEDGER`.
enum LedgerFile {
    /// A whole file as read.
    struct Content: Sendable {
        var ledger = CooldownLedger()
        var state = LineFile.State()
        /// Lines that are no lines of this file, apart from a torn last one.
        var damagedLines = 0
        var skippedBytes: Int64 = 0
        /// If the file was damaged: the path that it is kept at, or the error for which it is not kept.
        var setAside: Result<String, StoreError>?
    }

    /// Reads the file, and rewrites it if that is worthwhile. A damaged file is kept aside.
    static func load(_ layout: Layout) throws(StoreError) -> Content {
        var content = Content()
        var lines = 0
        let reading = try file(layout).forEachLine(maximumBytes: LineFile.State.maximumBytes) { line, isEnded in
            lines += 1
            if let change = LedgerLine.parse(line) {
                content.ledger.apply(change)
            } else if isEnded {
                content.damagedLines += 1
            }
        }
        content.state = LineFile.State(bytes: reading.bytes, lines: lines)
        content.skippedBytes = reading.skippedBytes
        let isDamaged = content.damagedLines > 0
        // A cut last line would be damaged once something is appended.
        guard isDamaged || reading.isTorn || content.state.isWorthRewriting(entries: content.ledger.count) else {
            return content
        }
        let ledger = content.ledger
        (content.state, content.setAside) = try replace(ledger, layout, isDamaged: isDamaged)
        return content
    }

    /// Rewrites the file without its obsolete lines.
    static func rewrite(_ ledger: CooldownLedger, _ layout: Layout) throws(StoreError) -> LineFile.State {
        try replace(ledger, layout, isDamaged: false).0
    }

    private static func replace(
        _ ledger: CooldownLedger, _ layout: Layout, isDamaged: Bool
    ) throws(StoreError) -> (LineFile.State, setAside: Result<String, StoreError>?) {
        let (bytes, setAside) = try file(layout).replace { writer in
            ledger.forEachChange { writer.add(LedgerLine.format($0)) }
        } beforeNaming: { () throws(StoreError) in
            isDamaged
                ? Result { () throws(StoreError) in try layout.keepAside(layout.ledger, reason: "damaged lines") } : nil
        }
        return (LineFile.State(bytes: bytes, lines: ledger.count), setAside)
    }

    /// Appends lines, and returns when they are on the device. The last line of the file may be cut, so they begin with
    /// a line end; empty lines are no lines.
    /// - Returns: the new size of the file.
    static func append(_ changes: [LedgerChange], _ layout: Layout) throws(StoreError) -> Int64 {
        var text: [UInt8] = [0x0A]
        for change in changes { text += LedgerLine.format(change) }
        return try file(layout).append(text, isNew: true, isSynced: true)
    }

    private static func file(_ layout: Layout) -> LineFile { LineFile(layout.ledger, layout) }
}
