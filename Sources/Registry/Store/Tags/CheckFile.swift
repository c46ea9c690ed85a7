// `CHECKS`, the file of the last checks of tags (a `LineFile`): lines of `host/repository:tag seconds`, of which the
// last one of a tag counts. The seconds come last, so that a line that a crash cut is an earlier time, or no line.

internal import Glibc
internal import OCI

/// Reads and writes `CHECKS`.
package enum CheckFile {
    /// The result of a job that has read the whole file.
    struct Content: Sendable {
        let table = CheckTable()
        var state = LineFile.State()
        /// Bytes at the start of the file that were not read.
        var skippedBytes: Int64 = 0
        /// Whether the last line has no line end.
        var isTorn = false
        /// The reason why the file could not be rewritten.
        var error: StoreError?
    }

    /// Reads the file, and rewrites it if that is worthwhile. Malformed lines are skipped.
    /// - Parameter now: lines of a later time are skipped.
    static func load(_ layout: Layout, now: Int64) throws(StoreError) -> Content {
        var content = try read(layout, now: now)
        let isWorthIt = content.state.isWorthRewriting(entries: content.table.count)
        guard isWorthIt || content.isTorn || content.skippedBytes > 0 else { return content }
        do throws(StoreError) {
            content.state = try write(content.table, layout)
            content.isTorn = false
        } catch {
            content.error = error
        }
        return content
    }

    /// Whether a time can be that of a check: a later one was recorded while the clock was wrong. Clocks differ by
    /// seconds.
    static func isPlausible(_ seconds: Int64, now: Int64) -> Bool { seconds <= now.addingSaturated(60) }

    /// Rewrites the file without its obsolete lines and the tags that are no longer in the cache.
    static func rewrite(_ layout: Layout, now: Int64) throws(StoreError) -> LineFile.State {
        try write(try read(layout, now: now).table, layout)
    }

    /// Appends lines.
    /// - Parameters:
    ///   - isTorn: whether the file may end with half a line.
    ///   - lines: the number of lines that the file has already.
    static func append(
        _ checks: [TagName: Int64], isTorn: Bool, to lines: Int, _ layout: Layout
    ) throws(StoreError) -> LineFile.State {
        var text: [UInt8] = isTorn ? [0x0A] : []
        for (name, seconds) in checks { text += Array("\(name) \(seconds)\n".utf8) }
        let bytes = try LineFile(layout.checks, layout).append(text)
        return LineFile.State(bytes: bytes, lines: lines + checks.count)
    }

    private static func read(_ layout: Layout, now: Int64) throws(StoreError) -> Content {
        var content = Content()
        var lines = 0
        let table = content.table
        let reading = try LineFile(layout.checks, layout).forEachLine(
            maximumBytes: LineFile.State.maximumBytes
        ) { line, _ in
            lines += 1
            guard let (name, seconds) = parse(line), isPlausible(seconds, now: now) else { return }
            table.set(name, min(seconds, now))
        }
        content.state = LineFile.State(bytes: reading.bytes, lines: lines)
        (content.skippedBytes, content.isTorn) = (reading.skippedBytes, reading.isTorn)
        return content
    }

    private static func write(_ table: CheckTable, _ layout: Layout) throws(StoreError) -> LineFile.State {
        var lines = 0
        let bytes = try LineFile(layout.checks, layout).replace { writer in
            table.forEach { name, seconds in
                guard let path = tagPath(name, layout), access(path, F_OK) == 0 else { return }
                writer.add(Array(name) + Array(" \(seconds)\n".utf8))
                lines += 1
            }
        }
        return LineFile.State(bytes: bytes, lines: lines)
    }

    /// Parses a line without its line end; nil if it is not a line of this file.
    package static func parse(
        _ line: UnsafeRawBufferPointer
    ) -> (name: UnsafeRawBufferPointer, seconds: Int64)? {
        guard let space = line.lastIndex(of: 0x20),
            let seconds = OutsideNumber.decimal(
                String(decoding: line[(space + 1)...], as: UTF8.self), in: OutsideNumber.seconds)
        else { return nil }
        let name = UnsafeRawBufferPointer(rebasing: line[..<space])
        return parts(name) == nil ? nil : (name, seconds)
    }

    /// The host, repository and tag of a name; nil if it is not the name of a tag.
    private static func parts(
        _ name: UnsafeRawBufferPointer
    ) -> (host: UnsafeRawBufferPointer, repository: UnsafeRawBufferPointer, tag: UnsafeRawBufferPointer)? {
        guard let slash = name.firstIndex(of: 0x2F), let colon = name.lastIndex(of: 0x3A), colon > slash else {
            return nil
        }
        let host = UnsafeRawBufferPointer(rebasing: name[..<slash])
        let repository = UnsafeRawBufferPointer(rebasing: name[(slash + 1)..<colon])
        let tag = UnsafeRawBufferPointer(rebasing: name[(colon + 1)...])
        guard RepositoryName.isValid(repository), Reference.isValidTag(tag),
            let text = String(validating: host, as: UTF8.self), RegistryHost(text)?.text == text
        else { return nil }
        return (host, repository, tag)
    }

    private static func tagPath(_ name: UnsafeRawBufferPointer, _ layout: Layout) -> String? {
        guard let (host, repository, tag) = parts(name) else { return nil }
        func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }
        return "\(layout.tags)/\(text(host))/\(text(repository))/\(Layout.tagsName)/\(text(tag))"
    }
}

/// The last checks of tags by name. Filled off the loop, then used on the loop only.
final class CheckTable: @unchecked Sendable {
    // Sendable by hand-over: a job fills it, and no job uses it after that, except the one that frees it.

    private var table = TextTable<Int64>()

    var count: Int { table.count }

    /// The time of a tag's last check, in seconds since 1970.
    func seconds(of name: UnsafeRawBufferPointer) -> Int64? { table.position(of: name).map { table[$0] } }

    func set(_ name: UnsafeRawBufferPointer, _ seconds: Int64) {
        if let known = table.position(of: name) { table[known] = seconds } else { table.insert(name, seconds) }
    }

    func forEach(_ body: (UnsafeRawBufferPointer, Int64) -> Void) {
        for position in 0..<table.endPosition where table.isUsed(position) {
            body(table.text(at: position), table[position])
        }
    }

    func removeAll() { table = TextTable() }
}
