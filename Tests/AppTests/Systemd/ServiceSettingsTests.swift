// What systemd's variables mean, and that no value of them ends the process.

import Testing

@testable import App

@Suite struct ServiceSettingsTests {
    private func settings(_ variables: [String: String]) -> ServiceSettings {
        ServiceSettings(environment: { variables[$0] }, processID: 77)
    }

    @Test("without the variables there is no socket, no watchdog and no problem") func none() {
        let none = settings([:])
        #expect(none.socket == nil && none.pingMilliseconds == nil && none.problems.isEmpty)
    }

    @Test("paths and abstract names are addresses", arguments: ["/run/systemd/notify", "@x", "/" + longest("n")])
    func addresses(text: String) {
        let read = settings(["NOTIFY_SOCKET": text])
        #expect(read.socket != nil && read.problems.isEmpty)
    }

    private static func longest(_ letter: Character) -> String {
        String(repeating: letter, count: NotifySocket.maximumBytes - 1)
    }

    @Test(
        "other addresses are a problem, and are not used",
        arguments: ["", "/", "@", "run/notify", "vsock:2:1234", "/n" + longest("n"), "@n" + longest("n")])
    func wrongAddresses(text: String) {
        let read = settings(["NOTIFY_SOCKET": text])
        #expect(read.socket == nil)
        #expect(read.problems.count == 1 && read.problems[0].hasPrefix("NOTIFY_SOCKET: must be"), "\(read.problems)")
    }

    @Test(
        "the watchdog gets a message each half of its time, at least a millisecond",
        arguments: [
            ("30000000", 15_000), ("1", 1), ("3999", 1), ("18446744073709551614", 9_223_372_036_854_775),
        ] as [(String, UInt64)])
    func watchdog(text: String, milliseconds: UInt64) {
        for process in [[:], ["WATCHDOG_PID": "77"]] {
            let read = settings(process.merging(["WATCHDOG_USEC": text]) { first, _ in first })
            #expect(read.pingMilliseconds == milliseconds && read.problems.isEmpty)
        }
    }

    @Test("the watchdog of another process is not served") func otherProcess() {
        let read = settings(["WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "78"])
        #expect(read.pingMilliseconds == nil && read.problems.isEmpty)
    }

    @Test(
        "a wrong time or process is a problem, and starts no watchdog",
        arguments: [
            ("0", nil), ("", nil), ("-1", nil), ("1s", nil), (" 1", nil), ("99999999999999999999999999", nil),
            ("18446744073709551615", nil), ("1000", ""), ("1000", "0"), ("1000", "-77"), ("1000", "99999999999"),
        ] as [(String, String?)])
    func wrongWatchdog(text: String, process: String?) {
        var variables = ["WATCHDOG_USEC": text]
        variables["WATCHDOG_PID"] = process
        let read = settings(variables)
        #expect(read.pingMilliseconds == nil)
        #expect(read.problems.count == 1 && read.problems[0].hasPrefix("WATCHDOG_"), "\(read.problems)")
    }
}
