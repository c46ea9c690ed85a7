// `ACCESS`, the file of last uses (a `LineFile`): lines of `seconds digest`, of which the last one of a digest counts.

internal import Glibc
package import OCI

/// Reads and writes `ACCESS`.
package enum AccessFile {
    /// Largest file: a million and a half lines. Of a larger file only the end is read, which has the newest lines.
    static let maximumBytes = State.maximumBytes
    typealias State = LineFile.State

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
        var content = try read(layout, now: now, maximumBytes)
        let isWorthIt = content.state.isWorthRewriting(entries: content.uses.count)
        guard isWorthIt || content.isTorn || content.skippedBytes > 0 else { return content }
        do throws(StoreError) {
            content.state = try rewrite(content.uses, layout)
            content.isTorn = false
        } catch {
            content.error = error
        }
        return content
    }

    private static func read(
        _ layout: Layout, now: Int64, _ maximumBytes: Int64
    ) throws(StoreError) -> Content {
        var content = Content()
        let reading = try file(layout).forEachLine(maximumBytes: maximumBytes) { line, _ in
            content.state.lines += 1
            if let (digest, seconds) = parse(line) { content.uses[digest] = min(seconds, now) }
        }
        content.state = State(bytes: reading.bytes, lines: content.state.lines)
        (content.skippedBytes, content.isTorn) = (reading.skippedBytes, reading.isTorn)
        return content
    }

    private static func file(_ layout: Layout) -> LineFile { LineFile(layout.access, layout) }

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
        return State(bytes: try file(layout).append(text), lines: lines + uses.count)
    }

    /// Rewrites the file, oldest uses first, so that its end has the most important lines. The new file has at most
    /// half of the largest size, so that it is not rewritten again soon.
    static func rewrite(_ uses: DigestMap<Int64>, _ layout: Layout) throws(StoreError) -> State {
        var sorted: [(digest: Digest, seconds: Int64)] = []
        sorted.reserveCapacity(uses.count)
        uses.forEach { sorted.append(($0, $1)) }
        sorted.sort { $0.seconds < $1.seconds }
        let kept = fitting(sorted)
        let bytes = try file(layout).replace { writer in
            for use in kept { writer.add(line(use.digest, use.seconds)) }
        }
        return State(bytes: bytes, lines: kept.count)
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

    /// The recorded digests without a manifest or blob on disk: older releases, and commands run without a server,
    /// removed content without its lines.
    static func withoutContent(_ uses: DigestMap<Int64>, _ layout: Layout) -> Set<Digest> {
        var gone: Set<Digest> = []
        uses.forEach { digest, _ in
            let isThere =
                MediaType.allCases.contains { access(layout.manifest(digest, $0), F_OK) == 0 }
                || access(layout.blob(digest), F_OK) == 0
            if !isThere { gone.insert(digest) }
        }
        return gone
    }
}
