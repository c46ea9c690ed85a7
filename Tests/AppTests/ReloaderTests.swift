// Which reload a request for one gets: one that began after it came.

import Foundation
import Logging
import Registry
import TestSupport
import Testing

@testable import App
@testable import Configuration

@Suite struct ReloaderTests {
    /// Reads that fail with their number as the reason, each when the test lets it.
    private final class Reads: @unchecked Sendable {
        private let lock = NSLock()
        private let gate = DispatchSemaphore(value: 0)
        private var total = 0

        var count: Int { lock.withLock { total } }

        func allow() { gate.signal() }

        func fail() throws -> PreparedReload {
            let number = lock.withLock {
                total += 1
                return total
            }
            guard gate.wait(timeout: .now() + ChildProcess.patienceSeconds) == .success else {
                throw ConfigError(problems: [])
            }
            throw ConfigError(problems: [.init(file: "c.yaml", line: number, key: "port", reason: "read")])
        }
    }

    private static func text(_ outcome: Reloader.Outcome) -> String {
        if case .failure(let error) = outcome { error.description } else { "used" }
    }

    @Test("a request during a reload gets the outcome of the next one, which all such requests share")
    func requestsDuringReload() throws {
        let run = try LoopRun()
        let offload = Offload(on: run.loop)
        let (reads, metrics) = (Reads(), Metrics())
        let reloader = Reloader(
            offload: offload, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, metrics: metrics,
            prepare: { _ in try reads.fail() }, running: { Config() },
            apply: { _ in Issue.record("a failed read is applied") })
        #expect(metrics.configLoads.hasLastLoadSucceeded && metrics.configLoads.lastSuccessSeconds > 1_700_000_000)
        var outcomes: [String: String] = [:]
        reloader.reload { outcomes["first"] = Self.text($0) }
        run.wait { reads.count == 1 }
        reloader.reload { outcomes["second"] = Self.text($0) }
        reloader.reload()
        reloader.reload { outcomes["third"] = Self.text($0) }
        reads.allow()
        run.wait { reads.count == 2 }
        #expect(outcomes == ["first": "c.yaml:1: port: read"])
        reads.allow()
        run.wait { outcomes.count == 3 }
        #expect(outcomes["second"] == "c.yaml:2: port: read")
        #expect(outcomes["third"] == "c.yaml:2: port: read")
        #expect(reads.count == 2)
        #expect(!metrics.configLoads.hasLastLoadSucceeded)
        reloader.isStopping = true
        reloader.reload { outcomes["fourth"] = Self.text($0) }
        reads.allow()
        run.wait { outcomes["fourth"] != nil }
        #expect(outcomes["fourth"] == "reload: the server is stopping")
        run.close()
    }
}
