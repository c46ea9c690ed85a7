// What the executable reports to the service manager from its start to its end.

import Foundation
import TestSupport
import Testing

@Suite struct NotificationTests {
    /// Whether the kernel has stopped the process (proc_pid_stat(5)).
    private func isStopped(_ processID: pid_t) throws -> Bool {
        let text = try String(contentsOfFile: "/proc/\(processID)/stat", encoding: .utf8)
        return text.components(separatedBy: ") ").last?.hasPrefix("T") == true
    }

    @Test("ready, reloading, stopping, and messages for the watchdog while the loop runs") func states() throws {
        let manager = try FakeServiceManager()
        let watchdogMilliseconds: Int32 = 200
        let server = try OciRegistryProcess(environment: [
            "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "\(watchdogMilliseconds * 1000)",
        ])
        let process = server.process
        #expect(manager.message(containing: "READY=1") == "READY=1\nSTATUS=serving on http://\(server.address)")

        var count = manager.receive().count
        kill(process.processID, SIGHUP)
        #expect(manager.message(containing: "RELOADING=1\nMONOTONIC_USEC=", after: count) != nil)
        #expect(
            manager.message(containing: "READY=1", after: count) == "READY=1\nSTATUS=the configuration was reloaded")
        count = manager.receive().count
        try "logLevel: loud".write(toFile: server.configurationFile, atomically: true, encoding: .utf8)
        kill(process.processID, SIGHUP)
        let refused = manager.message(containing: "READY=1", after: count)
        #expect(refused?.hasPrefix("READY=1\nSTATUS=the configuration was not reloaded: ") == true)

        count = manager.receive().count
        #expect(manager.message(containing: "WATCHDOG=1", after: count) != nil)
        kill(process.processID, SIGSTOP)
        while try !isStopped(process.processID) { sched_yield() }
        manager.receive()
        #expect(!manager.hears(withinMilliseconds: watchdogMilliseconds * 3))
        kill(process.processID, SIGCONT)
        count = manager.messages.count
        #expect(manager.message(containing: "WATCHDOG=1", after: count) != nil)

        #expect(try server.stop() == 0)
        let last = manager.receive().last { $0 != "WATCHDOG=1" }
        #expect(last?.hasPrefix("STOPPING=1\nSTATUS=stopping: SIGTERM") == true)
    }

    @Test("wrong values of the manager's variables do not keep the server from serving") func wrong() throws {
        let server = try OciRegistryProcess(environment: [
            "NOTIFY_SOCKET": "vsock:2:7", "WATCHDOG_USEC": "-99999999999999999999", "WATCHDOG_PID": "one",
        ])
        _ = try server.process.line(containing: "NOTIFY_SOCKET: must be an absolute path", in: server.process.errors)
        _ = try server.process.line(containing: "WATCHDOG_PID: must be a process id", in: server.process.errors)
        #expect(try server.stop() == 0)
    }
}
