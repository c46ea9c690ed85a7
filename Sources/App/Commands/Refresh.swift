// The `refresh` command: has a running server ask the upstreams of cached tags whether they have moved.

import ArgumentParser
import Configuration
import Registry

struct Refresh: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check now whether cached tags have moved.",
        discussion: """
            The server that runs on the cache asks the upstream of every tag whose name matches, without waiting for \
            the end of its ttl, and pulls what has moved.
            """)

    @OptionGroup var global: GlobalOptions

    @Argument(
        help: .init(
            """
            Regular expressions, separated by commas; a tag is checked when one matches its name \
            (docker.io/library/debian:12).
            """,
            valueName: "regex"))
    var pattern: String

    func validate() throws {
        if pattern.isEmpty { throw ValidationError("an empty expression would match everything") }
    }

    func run() throws {
        ProcessSetup.apply()
        let config = try global.resolve { _ in }
        let lines = RefreshLines()
        do {
            let path = Store.adminSocket(imagePath: config.imagePath)
            let hasServer = try AdminStreamClient.follow(.refresh(pattern: pattern), socket: path) { line in
                guard let event = NDJSONLine.decode(line, as: RefreshEvent.self) else { throw AdminClient.broken }
                lines.show(event)
            }
            guard hasServer else {
                throw Failure(description: "no server runs on the cache \(config.imagePath) (\(path))")
            }
        } catch let error as ExitCode {
            throw error
        } catch {
            throw StartFailure.report("\(error)", ExitCode.failure)
        }
        guard let report = lines.report, report.problem == nil, report.failed == 0, !report.isStopped else {
            throw ExitCode.failure
        }
    }
}

/// Writes a line to standard output for each tag and one for the summary.
private final class RefreshLines {
    private(set) var report: RefreshReport?

    func show(_ event: RefreshEvent) {
        switch event {
        case .tag(let tag): write(text(tag))
        case .ended(let report):
            self.report = report
            if let problem = report.problem { LogFile.writeToStandardError("\(problem)\n") }
            write(
                "\(report.moved) moved, \(report.unchanged) unchanged, \(report.deleted) deleted upstream, "
                    + "\(report.failed) failed" + (report.held > 0 ? ", \(report.held) held back" : "")
                    + (report.isStopped ? "; stopped before the end" : ""))
        }
    }

    private func text(_ tag: RefreshedTag) -> String {
        switch tag.result {
        case .unchanged: "unchanged \(tag.name) \(tag.digest)"
        case .moved: "moved \(tag.name) \(tag.digest) -> \(tag.movedTo ?? "")"
        case .held: "held \(tag.name) \(tag.digest) -> \(tag.movedTo ?? ""): \(tag.reason ?? "")"
        case .deleted: "deleted \(tag.name): \(tag.reason ?? "")"
        case .failed: "failed \(tag.name): \(tag.reason ?? "")"
        }
    }

    private func write(_ line: String) { LogFile.writeToStandardOutput(Array("\(line)\n".utf8)) }
}
