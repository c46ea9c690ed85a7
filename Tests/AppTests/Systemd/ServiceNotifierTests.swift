// Messages to the service manager, at a socket of the test in the manager's place.

import Configuration
import Foundation
import Logging
import Registry
import TestSupport
import Testing

@testable import App

@Suite struct ServiceNotifierTests {
    private let run: LoopRun

    init() throws { run = try LoopRun() }

    private func notifier(_ address: String, watchdog: String? = nil) -> ServiceNotifier {
        var variables = ["NOTIFY_SOCKET": address]
        variables["WATCHDOG_USEC"] = watchdog
        let notifier = ServiceNotifier(
            ServiceSettings(environment: { variables[$0] }, processID: 1), on: run.loop,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        run.atClose { notifier.close() }
        return notifier
    }

    private static func refusal(_ reason: String) -> Reloader.Outcome {
        .failure(ConfigError(problems: [.init(file: "c.yaml", line: 3, key: "port", reason: reason)]))
    }

    @Test("the states of a service, at a path and at an abstract name", arguments: [false, true])
    func states(isAbstract: Bool) throws {
        let manager = try FakeServiceManager(isAbstract: isAbstract)
        let notifier = notifier(manager.address)
        // A reload before the start is over must not make the service ready.
        notifier.reloading()
        notifier.reloaded(Self.refusal("early"))
        var answers = [["store: gone", "pool: late"], []]
        notifier.announce("serving") { then in then(answers.removeFirst()) }
        run.wait { manager.receive().count == 2 }
        #expect(manager.messages == ["STATUS=waiting: store: gone; pool: late", "READY=1\nSTATUS=serving"])
        let before = EventLoop.nowNanoseconds / 1000
        notifier.reloading()
        let after = EventLoop.nowNanoseconds / 1000
        notifier.reloaded(Self.refusal("two\nlines"))
        notifier.stopping("stopping: SIGTERM")
        // A second signal, and the end of a reload that was under way.
        notifier.stopping("again")
        notifier.reloaded(Self.refusal("late"))
        let messages = manager.receive().dropFirst(2)
        try #require(messages.count == 3)
        let parts = messages[2].split(separator: "\n")
        #expect(parts.count == 2 && parts[0] == "RELOADING=1")
        let time = try #require(parts.last.flatMap { UInt64($0.dropFirst("MONOTONIC_USEC=".count)) })
        #expect(parts[1].hasPrefix("MONOTONIC_USEC=") && (before...after).contains(time))
        #expect(
            messages[3] == "READY=1\nSTATUS=the configuration was not reloaded: c.yaml:3: port: two lines")
        #expect(messages[4] == "STOPPING=1\nSTATUS=stopping: SIGTERM")
        run.close()
    }

    @Test("the server is not ready while its store cannot be read") func storeAnswers() throws {
        let manager = try FakeServiceManager()
        let notifier = notifier(manager.address)
        let files = try TemporaryDirectory()
        let offload = Offload(on: run.loop)
        let store = try Store.open(
            imagePath: files.path, loop: run.loop, offload: offload,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, limits: StoreLimits(Config()))
        var isRecovered = false
        store.startRecovery { _ in isRecovered = true }
        run.wait { isRecovered }
        let folder = files.file("store-v1/blobs")
        try FileManager.default.moveItem(atPath: folder, toPath: "\(folder).away")
        let probes = ReadinessProbes(on: run.loop, store: store, pulls: true)
        notifier.announce("serving") { [probes] in probes.askReading(then: $0) }
        run.wait { !manager.receive().isEmpty }
        #expect(manager.messages.allSatisfy { $0.hasPrefix("STATUS=waiting: store: ") }, "\(manager.messages)")
        try FileManager.default.moveItem(atPath: "\(folder).away", toPath: folder)
        run.wait { manager.receive().contains("READY=1\nSTATUS=serving") }
        store.close { [run] in run.finish() }
        run.run()
        run.close()
    }

    @Test("while the manager's socket is full the last states are kept, and sent in their order later")
    func fullSocket() throws {
        let manager = try FakeServiceManager()
        let notifier = notifier(manager.address)
        notifier.announce("serving") { $0([]) }
        let other = try #require(NotifySocket(manager.address))
        let sender = NotifySocket.open()
        defer { close(sender) }
        var filled = 1
        while other.send([0x78], from: sender) == 0 { filled += 1 }
        let count = ServiceNotifier.maximumWaiting + 10
        for number in 1...count { notifier.reloaded(Self.refusal("number \(number)")) }
        notifier.stopping("the end")
        run.run(milliseconds: ServiceNotifier.retryMilliseconds * 2)
        #expect(manager.receive().count == filled)
        run.wait { manager.receive().last == "STOPPING=1\nSTATUS=the end" }
        let kept = manager.messages.dropFirst(filled)
        #expect(kept.count == ServiceNotifier.maximumWaiting)
        #expect(kept.first?.hasSuffix("number \(count - ServiceNotifier.maximumWaiting + 2)") == true)
        run.close()
    }

    @Test("a manager that cannot be reached is reported once") func noManager() throws {
        let files = try TemporaryDirectory()
        let log = LogRecorder()
        let settings = ServiceSettings(
            environment: { ["NOTIFY_SOCKET": files.file("nobody"), "WATCHDOG_USEC": "2000"][$0] }, processID: getpid())
        let notifier = ServiceNotifier(settings, on: run.loop, logger: log.logger)
        notifier.announce("serving") { $0([]) }
        run.run(milliseconds: 20)
        notifier.stopping("stopping")
        #expect(log.entries.map(\.message) == ["the service manager cannot be reached (NOTIFY_SOCKET)"])
        notifier.close()
        run.close()
    }

    @Test("a status is cut to a bounded length") func longStatus() throws {
        let manager = try FakeServiceManager()
        let notifier = notifier(manager.address)
        notifier.announce(String(repeating: "e\u{301}", count: 100_000)) { $0([]) }
        let message = try #require(manager.receive().first)
        #expect(message.utf8.starts(with: "READY=1\nSTATUS=e".utf8))
        #expect(message.utf8.count <= "READY=1\nSTATUS=".utf8.count + ServiceNotifier.valueBytes + 2)
        run.close()
    }

    @Test("a loop that hangs sends no message to the watchdog, and one that runs does") func watchdog() throws {
        let manager = try FakeServiceManager()
        let timeMilliseconds: Int32 = 40
        let notifier = notifier(manager.address, watchdog: "\(timeMilliseconds * 1000)")
        defer { withExtendedLifetime(notifier) {} }
        run.wait { manager.receive().count >= 3 }
        #expect(Set(manager.messages) == ["WATCHDOG=1"])
        // The loop's thread does nothing else while the manager waits for its whole time.
        var isHeard = true
        run.loop.deferred.enqueue { [run] in
            manager.receive()
            isHeard = manager.hears(withinMilliseconds: timeMilliseconds * 3)
            run.finish()
        }
        run.run()
        #expect(!isHeard)
        let count = manager.messages.count
        run.wait { manager.receive().count >= count + 3 }
        run.close()
    }
}
