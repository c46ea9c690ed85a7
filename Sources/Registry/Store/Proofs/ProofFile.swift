// `PROOFS`, the file of the index of proofs: appended lines (ProofLine), of which later ones count over earlier ones.
// The file is rewritten when most of it is obsolete. All functions block; one chain of jobs runs them, so that nothing
// is appended to a file that is being replaced.
//
// Crash safety: an append leaves whole lines, except for a torn last line, which is skipped. A line that a crash cut,
// or that a disk changed, does not match its checksum. A new file is durable before it gets the old one's name.

internal import Glibc
internal import OCI

/// Reads and writes `PROOFS`.
enum ProofFile {
    /// Largest file: three million proofs. Of a larger file only the end is read.
    static let maximumBytes: Int64 = 512 << 20
    /// Bytes read or written at once.
    static let stepBytes = 256 * 1024
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
        guard let descriptor = try open(layout) else { return State() }
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
        guard let descriptor = try open(layout) else { return content }
        defer { close(descriptor) }
        content.state = try state(layout)
        content.skippedBytes = max(0, content.state.bytes.subtractingSaturated(maximumBytes))
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: stepBytes, alignment: 4096)
        defer { buffer.deallocate() }
        var (offset, filled) = (content.skippedBytes, 0)
        // The first line is most likely cut.
        var isCut = offset > 0
        while true {
            let free = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
            let count = try Disk.read(descriptor, into: free, at: offset, layout.proofs)
            offset += Int64(count)
            let bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<(filled + count)])
            let isEnd = count < free.count
            let end = (bytes.lastIndex(of: 0x0A) ?? -1) + 1
            // Bytes without a line end in a whole buffer are not a line of this file.
            let whole = UnsafeRawBufferPointer(rebasing: bytes[..<(end == 0 && !isEnd ? bytes.count : end)])
            for line in whole.split(separator: 0x0A) {
                if isCut {
                    isCut = false
                } else {
                    read(UnsafeRawBufferPointer(rebasing: line), &content)
                }
            }
            if isEnd {
                // A last line without its end may be whole.
                let rest = UnsafeRawBufferPointer(rebasing: bytes[whole.count...])
                if !isCut, let change = ProofLine.parse(rest) { content.table.apply(change) }
                break
            }
            filled = bytes.count - whole.count
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[whole.count...]))
        }
        return content
    }

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
        let isNew = state.bytes == 0
        let descriptor = try Disk.create(layout.proofs, O_WRONLY | O_APPEND, layout.group)
        defer { close(descriptor) }
        try Disk.write(text, to: descriptor, layout.proofs)
        if isSynced {
            try Disk.sync(descriptor, layout.proofs)
            if isNew { try Disk.syncDirectory(layout.root) }
        }
        return State(
            bytes: try Disk.status(of: descriptor, layout.proofs).sizeBytes, rewrittenBytes: state.rewrittenBytes)
    }

    /// Rewrites the file without its obsolete lines. A damaged file is set aside.
    /// - Returns: the state of the new file; if the old one was damaged, the path that it is kept at, or the error for
    ///   which it is not kept.
    static func rewrite(_ layout: Layout) throws(StoreError) -> (State, setAside: Result<String, StoreError>?) {
        let content = try load(layout)
        let temporary = "\(layout.temporary)/PROOFS"
        try Disk.unlink(temporary)
        let descriptor = try Disk.create(temporary, O_WRONLY | O_EXCL, layout.group)
        defer { close(descriptor) }
        do throws(StoreError) {
            let state = try write(content.table, to: descriptor, temporary)
            try Disk.sync(descriptor, temporary)
            // Some file systems have no links; the damaged lines are then lost.
            let setAside =
                content.damagedLines > 0
                ? Result { () throws(StoreError) in try layout.keepAside(layout.proofs, reason: "damaged lines") } : nil
            try Disk.rename(temporary, layout.proofs)
            try Disk.syncDirectory(layout.root)
            return (state, setAside)
        } catch {
            try? Disk.unlink(temporary)
            throw error
        }
    }

    private static func write(
        _ table: ProofTable, to descriptor: Int32, _ path: String
    ) throws(StoreError) -> State {
        // The header has the size of the rest, so the rest is measured first.
        var size: Int64 = 0
        table.forEach { size += Int64(ProofLine.format(.add($0, repository: $1)).count) }
        var text = ProofLine.header(bytes: size)
        var offset: Int64 = 0
        var failure: StoreError?
        func flush() {
            guard failure == nil else { return }
            let result = text.withUnsafeBytes { raw in
                Result { () throws(StoreError) in try Disk.write(raw, to: descriptor, at: offset, path) }
            }
            failure = result.failure
            offset += Int64(text.count)
            text.removeAll(keepingCapacity: true)
        }
        table.forEach { digest, repository in
            text += ProofLine.format(.add(digest, repository: repository))
            if text.count >= stepBytes { flush() }
        }
        flush()
        if let failure { throw failure }
        return State(bytes: offset, rewrittenBytes: offset)
    }

    // MARK: Reading

    /// Nil when there is no such file.
    private static func open(_ layout: Layout) throws(StoreError) -> Int32? {
        let descriptor: Int32
        do throws(StoreError) { descriptor = try Disk.open(layout.proofs, O_RDONLY) } catch {
            if error.isMissing { return nil }
            throw error
        }
        let result = Result { () throws(StoreError) in try Disk.status(of: descriptor, layout.proofs) }
        guard case .success(let status) = result, status.isRegular else {
            close(descriptor)
            throw result.failure ?? .unusable(path: layout.proofs, reason: "not a regular file")
        }
        return descriptor
    }

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
