// The state of the scrub, saved in the store so that a restart continues where the last process stopped, and the rate
// limit of the scrub. Pure, except for reading and writing the file.

internal import Glibc
internal import OCI

/// The scrub's state, which survives restarts.
struct ScrubState: Sendable, Equatable {
    /// Start of the last pass, in seconds since 1970; 0 when there was none.
    var startedSeconds: Int64 = 0
    /// The last file hashed in this pass, relative to the store's directory; nil when the pass has ended.
    var position: String?
    /// Files and bytes hashed in that pass.
    var files: Int64 = 0
    var bytes: Int64 = 0
    /// End of the last complete pass; 0 when there was none.
    var completedSeconds: Int64 = 0

    /// Whether a pass has begun and not ended.
    var isInPass: Bool { position != nil }

    /// Seconds until the next pass; 0 or less when it is due.
    func secondsToNext(_ intervalSeconds: Int64, now: Int64) -> Int64 {
        // A start in the future was recorded while the clock was wrong.
        guard startedSeconds > 0, startedSeconds <= now else { return startedSeconds > now ? intervalSeconds : 0 }
        return startedSeconds + intervalSeconds - now
    }
}

extension ScrubState {
    /// Largest file that is read: it has a few lines, one of them a path of at most 200 bytes.
    static let maximumFileBytes = 4096
    /// Larger numbers were not written by this program; sums of smaller ones cannot overflow.
    private static let maximumNumber: Int64 = 1 << 60

    /// The position of a pass that has not reached a file yet, since a line cannot hold an empty word.
    private static let beginning = "-"

    /// Parses lines of a key and a value, as `text` writes them; unknown lines are skipped.
    init(_ text: String) {
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 1).map(String.init)
            guard words.count == 2 else { continue }
            if words[0] == "position" {
                position = words[1] == ScrubState.beginning ? "" : words[1]
                continue
            }
            guard let number = OutsideNumber.decimal(words[1], in: 0...ScrubState.maximumNumber) else { continue }
            switch words[0] {
            case "started": startedSeconds = number
            case "files": files = number
            case "bytes": bytes = number
            case "completed": completedSeconds = number
            default: break
            }
        }
    }

    var text: String {
        var lines = ["started \(startedSeconds)", "files \(files)", "bytes \(bytes)", "completed \(completedSeconds)"]
        if let position { lines.append("position \(position.isEmpty ? ScrubState.beginning : position)") }
        return lines.map { $0 + "\n" }.joined()
    }

    /// Must run off the loop. A missing or foreign file counts as no earlier pass.
    static func load(_ layout: Layout) throws(StoreError) -> ScrubState {
        do throws(StoreError) {
            return ScrubState(
                String(decoding: try Disk.readFile(layout.scrub, maximumBytes: maximumFileBytes), as: UTF8.self))
        } catch {
            if error.isMissing { return ScrubState() }
            throw error
        }
    }

    /// Must run off the loop. The old file stays until the new one is complete.
    func save(_ layout: Layout) throws(StoreError) {
        let temporary = "\(layout.temporary)/SCRUB"
        try Disk.unlink(temporary)
        let descriptor = try Disk.create(temporary, O_WRONLY | O_EXCL, layout.group)
        defer { close(descriptor) }
        try Disk.write(Array(text.utf8), to: descriptor, temporary)
        try Disk.sync(descriptor, temporary)
        try Disk.rename(temporary, layout.scrub)
    }
}

/// Limits the rate of work: returns how long to wait after each step.
struct ScrubPace {
    /// Lost time beyond this is not caught up, so that a disk that hung is not overloaded afterwards.
    private static let maximumLagMilliseconds: Int64 = 1000

    let bytesPerSecond: Int64
    /// When the work done so far should have ended, at the limited rate.
    private var dueMilliseconds: Int64 = 0

    init(bytesPerSecond: Int64) { self.bytesPerSecond = max(1, bytesPerSecond) }

    /// Bytes of one step: a tenth of a second's, within bounds. The smallest step is worth a job, and the largest takes
    /// a few milliseconds of a thread.
    var stepBytes: Int { Int(min(max(bytesPerSecond / 10, 64 * 1024), 4 * 1024 * 1024)) }

    /// - Parameter bytes: the bytes of the last step; not more than a few times `stepBytes`.
    /// - Returns: milliseconds until the next step may begin.
    mutating func pause(after bytes: Int64, now: Int64) -> UInt64 {
        dueMilliseconds = max(dueMilliseconds, now - ScrubPace.maximumLagMilliseconds)
        dueMilliseconds += bytes * 1000 / bytesPerSecond
        return UInt64(clamping: dueMilliseconds - now)
    }
}
