// `ACCESS`, the file of last uses: appended lines of `seconds digest`, of which the last one of a digest counts. The
// file is rewritten from time to time, since most lines become obsolete. All functions block; one chain of jobs runs
// them, so that nothing is appended to a file that is being replaced.
//
// Crash safety: an append leaves whole lines, except for a torn last line, which is skipped. A new file is durable
// before it gets the old one's name, and the name is durable before anything is appended.

internal import Glibc
package import OCI

/// Reads and writes `ACCESS`.
package enum AccessFile {
    /// Largest file: the lines of a million and a half manifests. Of a larger file only the end is read, which has the
    /// newest lines.
    static let maximumBytes: Int64 = 128 << 20
    /// Bytes read or written at once.
    static let stepBytes = 256 * 1024
    /// Obsolete lines that a small file may have before it is rewritten.
    static let spareLines = 1000

    /// The current size of the file. The size comes from outside, so it is bounded here.
    struct State: Sendable, Equatable {
        var bytes: Int64 = 0
        var lines = 0

        init() {}

        init(bytes: Int64, lines: Int) {
            self.bytes = ContentSize.nearest(bytes)
            self.lines = lines
        }

        /// Whether most lines are obsolete, or the file is too large.
        func isWorthRewriting(uses: Int) -> Bool { lines > 2 * uses + spareLines || bytes > maximumBytes }
    }

    /// The result of a job that has read or written the whole file.
    struct Content: Sendable {
        var uses = DigestMap<Int64>()
        var state = State()
        /// Bytes at the start of the file that were not read.
        var skippedBytes: Int64 = 0
        /// Whether the last line has no line end: an appended line would become part of it and be lost.
        var isTorn = false
        /// The reason why the file could not be rewritten.
        var error: StoreError?
    }

    /// Reads the file, and rewrites it if that is worthwhile. Malformed lines are skipped.
    /// - Parameter now: the limit for times; a later use was recorded while the clock was wrong.
    static func load(
        _ layout: Layout, now: Int64, maximumBytes: Int64 = AccessFile.maximumBytes
    ) throws(StoreError) -> Content {
        var content = try read(layout.access, now: now, maximumBytes)
        let isWorthIt = content.state.isWorthRewriting(uses: content.uses.count)
        guard isWorthIt || content.isTorn || content.skippedBytes > 0 else { return content }
        do throws(StoreError) {
            content.state = try rewrite(content.uses, layout)
            content.isTorn = false
        } catch {
            content.error = error
        }
        return content
    }

    private static func read(_ path: String, now: Int64, _ maximumBytes: Int64) throws(StoreError) -> Content {
        var content = Content()
        let descriptor: Int32
        do throws(StoreError) { descriptor = try Disk.open(path, O_RDONLY) } catch {
            if error.isMissing { return content }
            throw error
        }
        defer { close(descriptor) }
        let status = try Disk.status(of: descriptor, path)
        guard status.isRegular else { throw .unusable(path: path, reason: "not a regular file") }
        content.skippedBytes = max(0, status.sizeBytes.subtractingSaturated(maximumBytes))
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: stepBytes, alignment: 4096)
        defer { buffer.deallocate() }
        var (offset, filled) = (content.skippedBytes, 0)
        // The first line is most likely cut.
        var isCut = offset > 0
        while true {
            let free = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
            let count = try Disk.read(descriptor, into: free, at: offset, path)
            offset += Int64(count)
            let bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<(filled + count)])
            let end = count < free.count ? bytes.count : (bytes.lastIndex(of: 0x0A) ?? -1) + 1
            // Bytes without a line end in a whole buffer are not a line of this file.
            let whole = UnsafeRawBufferPointer(rebasing: bytes[..<(end == 0 ? bytes.count : end)])
            for line in whole.split(separator: 0x0A) {
                content.state.lines += 1
                if isCut {
                    isCut = false
                } else if let (digest, seconds) = parse(UnsafeRawBufferPointer(rebasing: line)) {
                    content.uses[digest] = min(seconds, now)
                }
            }
            if count < free.count {
                content.isTorn = bytes.last.map { $0 != 0x0A } ?? false
                break
            }
            filled = bytes.count - whole.count
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[whole.count...]))
        }
        content.state = State(bytes: offset, lines: content.state.lines)
        return content
    }

    /// Parses a line without its line end; nil if it is not a line of this file.
    package static func parse(_ line: UnsafeRawBufferPointer) -> (digest: Digest, seconds: Int64)? {
        guard let space = line.firstIndex(of: 0x20),
            let digest = Digest(ascii: UnsafeRawBufferPointer(rebasing: line[(space + 1)...])),
            let seconds = OutsideNumber.decimal(
                String(decoding: line[..<space], as: UTF8.self), in: OutsideNumber.seconds)
        else { return nil }
        return (digest, seconds)
    }

    private static func line(_ digest: Digest, _ seconds: Int64) -> [UInt8] { Array("\(seconds) \(digest)\n".utf8) }

    /// Appends lines.
    /// - Parameter lines: the number of lines that the file has already.
    static func append(_ uses: DigestMap<Int64>, to lines: Int, _ layout: Layout) throws(StoreError) -> State {
        var text: [UInt8] = []
        uses.forEach { text += line($0, $1) }
        let descriptor = try Disk.create(layout.access, O_WRONLY | O_APPEND, layout.group)
        defer { close(descriptor) }
        try Disk.write(text, to: descriptor, layout.access)
        return State(bytes: try Disk.status(of: descriptor, layout.access).sizeBytes, lines: lines + uses.count)
    }

    /// Rewrites the file, oldest uses first, so that its end has the most important lines. The new file has at most
    /// half of the largest size, so that it is not rewritten again soon.
    static func rewrite(_ uses: DigestMap<Int64>, _ layout: Layout) throws(StoreError) -> State {
        var sorted: [(digest: Digest, seconds: Int64)] = []
        sorted.reserveCapacity(uses.count)
        uses.forEach { sorted.append(($0, $1)) }
        sorted.sort { $0.seconds < $1.seconds }
        let temporary = "\(layout.temporary)/ACCESS"
        try Disk.unlink(temporary)
        let descriptor = try Disk.create(temporary, O_WRONLY | O_EXCL, layout.group)
        defer { close(descriptor) }
        do throws(StoreError) {
            let state = try write(fitting(sorted), to: descriptor, temporary)
            try Disk.sync(descriptor, temporary)
            try Disk.rename(temporary, layout.access)
            try Disk.syncDirectory(layout.root)
            return state
        } catch {
            try? Disk.unlink(temporary)
            throw error
        }
    }

    /// The newest uses that fit into half of the largest size.
    private static func fitting(
        _ sorted: [(digest: Digest, seconds: Int64)]
    ) -> ArraySlice<(digest: Digest, seconds: Int64)> {
        // Longest line: a number of 19 digits, a space, a sha512 digest and the line end.
        let longest = 19 + 1 + 135 + 1
        guard sorted.count > Int(maximumBytes) / 2 / longest else { return sorted[...] }
        var bytes = 0
        var first = sorted.count
        while first > 0 {
            bytes += line(sorted[first - 1].digest, sorted[first - 1].seconds).count
            guard bytes <= Int(maximumBytes) / 2 else { break }
            first -= 1
        }
        return sorted[first...]
    }

    private static func write(
        _ uses: ArraySlice<(digest: Digest, seconds: Int64)>, to descriptor: Int32, _ path: String
    ) throws(StoreError) -> State {
        var text: [UInt8] = []
        var offset: Int64 = 0
        func flush() throws(StoreError) {
            let result = text.withUnsafeBytes { raw in
                Result { () throws(StoreError) in try Disk.write(raw, to: descriptor, at: offset, path) }
            }
            try result.get()
            offset += Int64(text.count)
            text.removeAll(keepingCapacity: true)
        }
        for use in uses {
            text += line(use.digest, use.seconds)
            if text.count >= stepBytes { try flush() }
        }
        try flush()
        return State(bytes: offset, lines: uses.count)
    }

    /// The recorded digests without a manifest on disk: older releases, and commands run without a server, removed
    /// manifests without their lines.
    static func withoutManifest(_ uses: DigestMap<Int64>, _ layout: Layout) -> Set<Digest> {
        var gone: Set<Digest> = []
        uses.forEach { digest, _ in
            let isThere = MediaType.allCases.contains { access(layout.manifest(digest, $0), F_OK) == 0 }
            if !isThere { gone.insert(digest) }
        }
        return gone
    }
}
