// `PROOFS`, the file of the index of proofs (a `LineFile`): lines of `ProofLine`, of which later ones count over
// earlier ones. A line that a crash cut, or that a disk changed, does not match its checksum.

internal import Glibc
internal import OCI

/// Reads and writes `PROOFS`.
enum ProofFile {
    /// Largest file: three million proofs. Of a larger file only the end is read.
    static let maximumBytes: Int64 = 512 << 20
    /// Obsolete bytes that a small file may have before it is rewritten.
    static let spareBytes: Int64 = 1 << 20

    /// The current size of the file.
    struct State: Sendable, Equatable {
        var bytes: Int64 = 0
        /// The size after it was last rewritten; 0 if it never was.
        var rewrittenBytes: Int64 = 0
        /// Whether the last line has no end, so that an appended one needs an end before it.
        var isTorn = false

        /// Whether most of the file is likely to be obsolete.
        var isWorthRewriting: Bool {
            bytes > rewrittenBytes.multipliedSaturated(by: 2).addingSaturated(spareBytes)
        }
    }

    /// A whole file as read.
    struct Content: Sendable {
        let table = ProofTable()
        var state = State()
        /// Lines that are no lines of this file, apart from a torn last one.
        var damagedLines = 0
        /// Bytes at the start of the file that were not read.
        var skippedBytes: Int64 = 0
    }

    /// The size of the file, and whether its last line is whole, without reading the rest.
    static func state(_ layout: Layout) throws(StoreError) -> State {
        guard let descriptor = try file(layout).open() else { return State() }
        defer { close(descriptor) }
        var state = State(bytes: try Disk.status(of: descriptor, layout.proofs).sizeBytes)
        guard state.bytes > 0 else { return state }
        let first = try bytes(of: descriptor, layout, at: 0, count: min(Int(state.bytes), ProofLine.maximumBytes))
        state.rewrittenBytes = header(first) ?? 0
        state.isTorn = try bytes(of: descriptor, layout, at: state.bytes - 1, count: 1) != [0x0A]
        return state
    }

    /// Reads the whole file.
    static func load(_ layout: Layout, maximumBytes: Int64 = maximumBytes) throws(StoreError) -> Content {
        var content = Content()
        content.state = try state(layout)
        content.skippedBytes = try file(layout).forEachLine(maximumBytes: maximumBytes) { line, isEnded in
            if isEnded {
                read(line, &content)
            } else if let change = ProofLine.parse(line) {
                // A last line without its end may be whole.
                content.table.apply(change)
            }
        }.skippedBytes
        return content
    }

    private static func file(_ layout: Layout) -> LineFile { LineFile(layout.proofs, layout) }

    private static func read(_ line: UnsafeRawBufferPointer, _ content: inout Content) {
        if let change = ProofLine.parse(line) {
            content.table.apply(change)
        } else if ProofLine.parseHeader(line) == nil {
            content.damagedLines += 1
        }
    }

    /// Appends lines.
    /// - Parameter isSynced: whether they must be on the device before this returns.
    static func append(
        _ changes: [ProofChange], after state: State, isSynced: Bool, _ layout: Layout
    ) throws(StoreError) -> State {
        var text: [UInt8] = state.isTorn ? [0x0A] : []
        for change in changes { text += ProofLine.format(change) }
        let bytes = try file(layout).append(text, isNew: state.bytes == 0, isSynced: isSynced)
        return State(bytes: bytes, rewrittenBytes: state.rewrittenBytes)
    }

    /// Rewrites the file without its obsolete lines. A damaged file is set aside.
    /// - Returns: the state of the new file; if the old one was damaged, the path that it is kept at, or the error for
    ///   which it is not kept.
    static func rewrite(_ layout: Layout) throws(StoreError) -> (State, setAside: Result<String, StoreError>?) {
        let content = try load(layout)
        // The header has the size of the rest, so the rest is measured first.
        var size: Int64 = 0
        content.table.forEach { size += Int64(ProofLine.format(.add($0, repository: $1)).count) }
        let (bytes, setAside) = try file(layout).replace { writer in
            writer.add(ProofLine.header(bytes: size))
            content.table.forEach { writer.add(ProofLine.format(.add($0, repository: $1))) }
        } beforeNaming: { () throws(StoreError) in
            // Some file systems have no links; the damaged lines are then lost.
            content.damagedLines > 0
                ? Result { () throws(StoreError) in try layout.keepAside(layout.proofs, reason: "damaged lines") } : nil
        }
        return (State(bytes: bytes, rewrittenBytes: bytes), setAside)
    }

    // MARK: Reading

    private static func bytes(
        of descriptor: Int32, _ layout: Layout, at offset: Int64, count: Int
    ) throws(StoreError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let result = bytes.withUnsafeMutableBytes { raw in
            Result { () throws(StoreError) in try Disk.read(descriptor, into: raw, at: offset, layout.proofs) }
        }
        return Array(bytes.prefix(try result.get()))
    }

    private static func header(_ start: [UInt8]) -> Int64? {
        start.firstIndex(of: 0x0A).flatMap { end in
            start.withUnsafeBytes { ProofLine.parseHeader(UnsafeRawBufferPointer(rebasing: $0[..<end])) }
        }
    }
}
