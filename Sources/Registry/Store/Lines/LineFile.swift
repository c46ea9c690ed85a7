// The files of appended lines at the top of the store: `ACCESS`, `PROOFS` and `CHECKS`. Later lines count over earlier
// ones, and a file is rewritten when most of its lines are obsolete. All functions block; each file has one chain of
// jobs, so that nothing is appended to a file that is being replaced.
//
// Crash safety: an append leaves whole lines, except for a torn last line, which its reader skips. A new file is
// durable before it gets the old one's name, and the name is durable before anything is appended.

internal import Glibc
internal import OCI

/// Reads and writes one file of lines.
struct LineFile: Sendable {
    /// Bytes read or written at once.
    static let stepBytes = 256 * 1024

    let path: String
    let layout: Layout

    init(_ path: String, _ layout: Layout) {
        self.path = path
        self.layout = layout
    }

    /// The outcome of reading a file.
    struct Reading: Sendable {
        /// The size of the file, as far as it was read.
        var bytes: Int64 = 0
        /// Bytes at the start of the file that were not read.
        var skippedBytes: Int64 = 0
        /// Whether the last line has no line end: an appended line would become part of it.
        var isTorn = false
    }

    /// The current size of a file whose lines are counted. The size comes from outside, so it is bounded here.
    struct State: Sendable, Equatable {
        /// Larger files are rewritten, and of them only the end is read: more than a million lines.
        static let maximumBytes: Int64 = 128 << 20
        /// Obsolete lines that a small file may have before it is rewritten.
        static let spareLines = 1000

        var bytes: Int64 = 0
        var lines = 0

        init() {}

        init(bytes: Int64, lines: Int) {
            self.bytes = ContentSize.nearest(bytes)
            self.lines = lines
        }

        /// Whether most lines are obsolete, or the file is too large.
        func isWorthRewriting(entries: Int) -> Bool {
            lines > 2 * entries + State.spareLines || bytes > State.maximumBytes
        }
    }

    // MARK: Reading

    /// Nil when there is no such file.
    func open() throws(StoreError) -> Int32? {
        let descriptor: Int32
        do throws(StoreError) { descriptor = try Disk.open(path, O_RDONLY) } catch {
            if error.isMissing { return nil }
            throw error
        }
        let result = Result { () throws(StoreError) in try Disk.status(of: descriptor, path) }
        guard case .success(let status) = result, status.isRegular else {
            close(descriptor)
            throw result.failure ?? .unusable(path: path, reason: "not a regular file")
        }
        return descriptor
    }

    /// Calls `body` with each line that is not empty, without its end; `isEnded` is false for a last line without one.
    /// - Parameter maximumBytes: of a larger file only the end is read, which has the newest lines.
    func forEachLine(
        maximumBytes: Int64, _ body: (_ line: UnsafeRawBufferPointer, _ isEnded: Bool) -> Void
    ) throws(StoreError) -> Reading {
        var reading = Reading()
        guard let descriptor = try open() else { return reading }
        defer { close(descriptor) }
        reading.skippedBytes = max(
            0, try Disk.status(of: descriptor, path).sizeBytes.subtractingSaturated(maximumBytes))
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: LineFile.stepBytes, alignment: 4096)
        defer { buffer.deallocate() }
        var (offset, filled) = (reading.skippedBytes, 0)
        // The first line is most likely cut.
        var isCut = offset > 0
        func take(_ line: UnsafeRawBufferPointer, isEnded: Bool) {
            if isCut { isCut = false } else { body(line, isEnded) }
        }
        while true {
            let free = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
            let count = try Disk.read(descriptor, into: free, at: offset, path)
            offset += Int64(count)
            let bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<(filled + count)])
            let isEnd = count < free.count
            let end = (bytes.lastIndex(of: 0x0A) ?? -1) + 1
            // Bytes without a line end in a whole buffer are not a line of any of these files.
            let whole = UnsafeRawBufferPointer(rebasing: bytes[..<(end == 0 && !isEnd ? bytes.count : end)])
            for line in whole.split(separator: 0x0A) { take(UnsafeRawBufferPointer(rebasing: line), isEnded: true) }
            let rest = UnsafeRawBufferPointer(rebasing: bytes[whole.count...])
            if isEnd {
                reading.isTorn = !rest.isEmpty
                if !rest.isEmpty { take(rest, isEnded: false) }
                break
            }
            filled = rest.count
            buffer.copyMemory(from: rest)
        }
        reading.bytes = ContentSize.nearest(offset)
        return reading
    }

    // MARK: Writing

    /// Appends lines. When they do not fit on the disk, the file is left as it was: a part of them would end in half a
    /// line, and be followed by all of them later.
    /// - Parameter isSynced: whether they must be on the device before this returns.
    /// - Returns: the new size of the file.
    func append(_ text: [UInt8], isNew: Bool = false, isSynced: Bool = false) throws(StoreError) -> Int64 {
        let descriptor = try Disk.create(path, O_WRONLY | O_APPEND, layout.group)
        defer { close(descriptor) }
        let before = try Disk.status(of: descriptor, path).sizeBytes
        do throws(StoreError) { try Disk.write(text, to: descriptor, path) } catch {
            _ = ftruncate(descriptor, off_t(before))
            throw error
        }
        if isSynced {
            try Disk.sync(descriptor, path)
            if isNew { try Disk.syncDirectory(layout.root) }
        }
        return try Disk.status(of: descriptor, path).sizeBytes
    }

    /// Replaces the file.
    /// - Parameters:
    ///   - write: adds the lines of the new file.
    ///   - beforeNaming: called when the new file is durable and does not have its name yet.
    /// - Returns: the size of the new file, and the result of `beforeNaming`.
    func replace<R>(
        with write: (inout LineWriter) -> Void, beforeNaming: () throws(StoreError) -> R
    ) throws(StoreError) -> (bytes: Int64, R) {
        let name = path.utf8.lastIndex(of: 0x2F).map { String(path[path.utf8.index(after: $0)...]) } ?? path
        let temporary = "\(layout.temporary)/\(name)"
        try Disk.unlink(temporary)
        let descriptor = try Disk.create(temporary, O_WRONLY | O_EXCL, layout.group)
        defer { close(descriptor) }
        do throws(StoreError) {
            var writer = LineWriter(descriptor, temporary)
            write(&writer)
            let bytes = try writer.finish()
            try Disk.sync(descriptor, temporary)
            let value = try beforeNaming()
            try Disk.rename(temporary, path)
            try Disk.syncDirectory(layout.root)
            return (bytes, value)
        } catch {
            try? Disk.unlink(temporary)
            throw error
        }
    }

    func replace(with write: (inout LineWriter) -> Void) throws(StoreError) -> Int64 {
        try replace(with: write) { () throws(StoreError) in }.bytes
    }
}

/// Writes the lines of a new file, some at a time.
struct LineWriter {
    private let descriptor: Int32
    private let path: String
    private var text: [UInt8] = []
    private var offset: Int64 = 0
    private var failure: StoreError?

    fileprivate init(_ descriptor: Int32, _ path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    /// Adds a line with its end. An error of the disk is thrown at the end of the file.
    mutating func add(_ line: [UInt8]) {
        text += line
        if text.count >= LineFile.stepBytes { flush() }
    }

    private mutating func flush() {
        guard failure == nil else { return text.removeAll(keepingCapacity: true) }
        let (descriptor, path, offset) = (descriptor, path, offset)
        failure =
            text.withUnsafeBytes { raw in
                Result { () throws(StoreError) in try Disk.write(raw, to: descriptor, at: offset, path) }
            }.failure
        self.offset += Int64(text.count)
        text.removeAll(keepingCapacity: true)
    }

    fileprivate mutating func finish() throws(StoreError) -> Int64 {
        flush()
        if let failure { throw failure }
        return offset
    }
}
