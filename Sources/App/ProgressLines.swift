// What people see of a long job: on a terminal one line that is drawn anew, elsewhere a line for each thing that has
// ended. Both go to standard error; the sum at the end goes to standard output.

import Glibc
import OCI
import Registry

final class ProgressLines {
    static let barColumns = 24

    private let isTerminal = isatty(STDERR_FILENO) == 1
    private var hasDrawn = false
    private var drawnNanoseconds: UInt64 = 0

    func show(_ event: LoadRunEvent) {
        switch event {
        case .event(let event): show(event)
        case .progress(let progress): draw(progress)
        case .ended(let report): end(report)
        }
    }

    /// An image has ended.
    private func show(_ event: LoadEvent) {
        guard !isTerminal else { return }
        switch event {
        case .loaded(let image, _): write("loaded \(image)\n")
        case .present(let image, _): write("in the cache already: \(image)\n")
        case .failed(let failure): write("failed: \(failure.image ?? failure.file)\n")
        }
    }

    private func draw(_ progress: LoadProgress) {
        var text = "\(progress.ended)/\(progress.images) images"
        if progress.wantedBytes > 0 {
            text += "  \(ByteText.megabytes(progress.arrivedBytes))/\(ByteText.megabytes(progress.wantedBytes)) MB"
        }
        if progress.failed > 0 { text += "  \(progress.failed) failed" }
        draw(progress.arrivedBytes, of: progress.wantedBytes, text)
    }

    /// Bytes alone.
    func draw(_ done: Int64, of all: Int64) {
        draw(done, of: all, "\(ByteText.megabytes(done))/\(ByteText.megabytes(all)) MB")
    }

    /// A bar with words behind it.
    private func draw(_ done: Int64, of all: Int64, _ text: String) {
        let now = EventLoop.nowNanoseconds
        // Some callers come by for every piece of a file.
        guard isTerminal, now >= drawnNanoseconds + LoadRun.pauseMilliseconds * 500_000 else { return }
        drawnNanoseconds = now
        let filled = ProgressLines.filledColumns(done, of: all)
        let bar =
            String(repeating: "#", count: filled)
            + String(repeating: ".", count: ProgressLines.barColumns - filled)
        hasDrawn = true
        // Carriage return, the line, and whatever is left of a longer one erased.
        write("\r[\(bar)] \(text)\u{1B}[K")
    }

    /// How much of the bar stands for `done`. The numbers may come from another process.
    static func filledColumns(_ done: Int64, of all: Int64) -> Int {
        guard all > 0 else { return 0 }
        return Int(saturating: Double(min(max(done, 0), all)) / Double(all) * Double(barColumns))
    }

    /// Takes the bar away.
    func clear() {
        if hasDrawn { write("\r\u{1B}[K") }
        hasDrawn = false
    }

    /// Everything is done: what failed, and the sum.
    private func end(_ report: LoadReport) {
        clear()
        for failure in report.failures { write("\(failure)\n") }
        let progress = report.progress
        var sum = "\(progress.loaded) loaded, \(progress.present) in the cache already"
        if progress.failed > 0 { sum += ", \(progress.failed) failed" }
        sum += "; \(ByteText.megabytes(progress.arrivedBytes)) MB"
        if report.isStopped { sum += "; stopped before the end: the same command resumes from here" }
        print(sum)
    }

    private func write(_ text: String) { LogFile.writeToStandardError(text) }
}

enum ByteText {
    /// Millions of bytes with one decimal, as registries count.
    static func megabytes(_ bytes: Int64) -> String {
        let tenths = bytes.addingSaturated(50_000) / 100_000
        return "\(tenths / 10).\(tenths % 10)"
    }
}
