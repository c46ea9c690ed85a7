// The progress of the scrub, kept in a file of the store so that a restart continues where the last process stopped,
// and the rate of the scrub. Pure, except for reading and writing the file.

internal import Glibc
internal import OCI

/// What is remembered from pass to pass and over restarts.
struct ScrubState: Sendable, Equatable {
    /// Start of the last pass, in seconds since 1970; 0 when there was none.
    var startedSeconds: Int64 = 0
    /// The last file of it that was hashed, below the store's directory; nil when the pass is over.
    var position: String?
    /// Files and bytes of that pass so far.
    var files: Int64 = 0
    var bytes: Int64 = 0
    /// End of the last whole pass; 0 when there was none.
    var completedSeconds: Int64 = 0

    /// Whether a pass has begun and not ended.
    var isInPass: Bool { position != nil }

    /// Seconds from now until the next pass begins; 0 or less: it is due.
    func secondsToNext(_ intervalSeconds: Int64, now: Int64) -> Int64 {
        // A start in the future was noted while the clock was wrong.
        guard startedSeconds > 0, startedSeconds <= now else { return startedSeconds > now ? intervalSeconds : 0 }
        return startedSeconds + intervalSeconds - now
    }
}

extension ScrubState {
    /// Largest file read: a few lines, of which one is a path of 200 bytes at most.
    static let maximumFileBytes = 4096
    /// Larger numbers were not written by this program; sums of such still fit.
    private static let maximumNumber: Int64 = 1 << 60

    /// The position of a pass that has not come to a file yet: a line cannot hold an empty word.
    private static let beginning = "-"

    /// Lines of a key and a value, as `text` writes them; what is not known is passed over.
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

    /// Off the loop. A file that is not there, or is not one of these, is a pass that never was.
    static func load(_ layout: Layout) throws(StoreError) -> ScrubState {
        do throws(StoreError) {
            return ScrubState(
                String(decoding: try Disk.readFile(layout.scrub, maximumBytes: maximumFileBytes), as: UTF8.self))
        } catch {
            if error.isMissing { return ScrubState() }
            throw error
        }
    }

    /// Off the loop. The old file is there until the new one is whole.
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

/// Keeps work to a rate: says how long to wait after each piece of it.
struct ScrubPace {
    /// Time that was lost is not made up for beyond this: a disk that hung is not asked for all of it at once.
    private static let maximumLagMilliseconds: Int64 = 1000

    let bytesPerSecond: Int64
    /// When what was done so far has taken its time.
    private var dueMilliseconds: Int64 = 0

    init(bytesPerSecond: Int64) { self.bytesPerSecond = max(1, bytesPerSecond) }

    /// Bytes done in one step: a tenth of a second's, within bounds. The smallest is worth a job, the largest is a few
    /// milliseconds of a thread.
    var stepBytes: Int { Int(min(max(bytesPerSecond / 10, 64 * 1024), 4 * 1024 * 1024)) }

    /// - Parameter bytes: what the last step did; not more than a few of `stepBytes`.
    /// - Returns: milliseconds until the next may begin.
    mutating func pause(after bytes: Int64, now: Int64) -> UInt64 {
        dueMilliseconds = max(dueMilliseconds, now - ScrubPace.maximumLagMilliseconds)
        dueMilliseconds += bytes * 1000 / bytesPerSecond
        return UInt64(clamping: dueMilliseconds - now)
    }
}
