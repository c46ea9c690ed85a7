// The `verify` command: hashes every cached file again. A server that uses the cache runs it, so that its indexes
// follow the files set aside; without a server this process runs it.

import ArgumentParser
import Configuration
import Registry

struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Hash everything in the cache again.",
        discussion: """
            What is wrong is set aside, so that the next pull fetches it anew. A server that runs on the cache is \
            asked to do it while it serves.
            """)

    @OptionGroup var global: GlobalOptions

    func run() throws {
        ProcessSetup.apply()
        let config = try global.resolve { _ in }
        let lines = VerifyLines(root: Store.root(imagePath: config.imagePath))
        do {
            let path = Store.adminSocket(imagePath: config.imagePath)
            let isAsked = try AdminStreamClient.follow(.verify, socket: path) { line in
                guard let event = NDJSONLine.decode(line, as: VerifyEvent.self) else { throw AdminClient.broken }
                lines.show(event)
            }
            if !isAsked { try StoreCheck(imagePath: config.imagePath).run { lines.show($0) } }
        } catch let error as ExitCode {
            throw error
        } catch {
            lines.clear()
            throw StartFailure.report("\(error)", ExitCode.failure)
        }
        if lines.report?.isSound != true { throw ExitCode.failure }
    }
}

/// Writes a line to standard output for each damaged file and one for the summary.
private final class VerifyLines {
    private let root: String
    private let progress = ProgressLines()
    private(set) var report: VerifyReport?

    init(root: String) { self.root = root }

    func clear() { progress.clear() }

    func show(_ event: VerifyEvent) {
        switch event {
        case .wrong(let finding):
            progress.clear()
            LogFile.writeToStandardOutput(Array("\(finding.text(root: root))\n".utf8))
        case .progress(let now): progress.draw(now.bytes, of: now.allBytes)
        case .ended(let report): end(report)
        }
    }

    private func end(_ report: VerifyReport) {
        progress.clear()
        self.report = report
        for reason in report.unreadable { LogFile.writeToStandardError(reason + "\n") }
        var sum = "\(report.progress.files) files, \(ByteText.megabytes(report.progress.bytes)) MB"
        sum += "; \(report.wrongCount) wrong"
        if report.isStopped { sum += "; stopped before the end" }
        LogFile.writeToStandardOutput(Array("\(sum)\n".utf8))
        if report.wrongCount > 0, let obstacle = report.obstacle {
            LogFile.writeToStandardError(
                "\(obstacle)\nWhat is wrong is set aside when nobody else holds the cache, or by its server.\n")
        }
    }
}
