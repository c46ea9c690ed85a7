// Progress of a long job on standard error: one redrawn line on a terminal, otherwise one line per finished item. The
// final summary goes to standard output.

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

    /// Writes a line for an image that has ended; a terminal shows the bar instead.
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

    /// Draws the bar with byte counts only.
    func draw(_ done: Int64, of all: Int64) {
        draw(done, of: all, "\(ByteText.megabytes(done))/\(ByteText.megabytes(all)) MB")
    }

    /// Draws the bar followed by `text`.
    private func draw(_ done: Int64, of all: Int64, _ text: String) {
        let now = EventLoop.nowNanoseconds
        // Some callers report every piece of a file.
        guard isTerminal, now >= drawnNanoseconds + LoadRun.pauseMilliseconds * 500_000 else { return }
        drawnNanoseconds = now
        let filled = ProgressLines.filledColumns(done, of: all)
        let bar =
            String(repeating: "#", count: filled)
            + String(repeating: ".", count: ProgressLines.barColumns - filled)
        hasDrawn = true
        // Carriage return, the line, and an erase of the rest of a longer earlier line.
        write("\r[\(bar)] \(text)\u{1B}[K")
    }

    /// Columns of the bar that represent `done`. The numbers may come from another process, so they are clamped.
    static func filledColumns(_ done: Int64, of all: Int64) -> Int {
        guard all > 0 else { return 0 }
        return Int(saturating: Double(min(max(done, 0), all)) / Double(all) * Double(barColumns))
    }

    /// Erases the bar.
    func clear() {
        if hasDrawn { write("\r\u{1B}[K") }
        hasDrawn = false
    }

    /// Writes the failures and the summary at the end of the job.
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
    /// Millions of bytes with one decimal: registries count in powers of ten.
    static func megabytes(_ bytes: Int64) -> String {
        let tenths = bytes.addingSaturated(50_000) / 100_000
        return "\(tenths / 10).\(tenths % 10)"
    }
}
