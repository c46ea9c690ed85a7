// The parts of `doctor` without I/O: addresses, the encoding of the CRI's messages, and the clock.

import Registry
import TestSupport
import Testing

@testable import Doctor

@Suite struct DoctorPartsTests {
    @Test(
        "a mirror is recognized in the forms that runtimes write",
        arguments: [
            ("http://127.0.0.1:8080", "http://localhost:8080", true), ("http://mirror", "http://mirror:80", true),
            ("https://mirror", "https://MIRROR:443/path", true), ("http://mirror:8080/", "mirror:8080/docker.io", true),
            ("http://[::1]:8080", "http://127.0.0.1:8080", true), ("http://mirror:8080", "https://mirror:8080", false),
            ("http://mirror:8080", "http://mirror:8081", false), ("https://mirror", "other/docker.io", false),
            ("http://mirror", "", false), ("http://[fd00::2]:80", "http://[fd00::2]", true),
        ] as [(String, String, Bool)])
    func address(_ mirror: String, _ written: String, _ isSame: Bool) throws {
        #expect(try #require(MirrorAddress(mirror)).isNamed(by: written) == isSame)
    }

    @Test(
        "what is no address is refused",
        arguments: ["mirror:8080", "ftp://mirror", "http://", "http://a b", "https:///x"])
    func noAddress(_ text: String) { #expect(MirrorAddress(text) == nil) }

    @Test("a message is read as it was written") func message() {
        var inner = ProtobufMessage()
        inner.add(1, "docker.io/a:1")
        var outer = ProtobufMessage()
        outer.add(3, true)
        outer.add(1, inner)
        outer.add(2, String(repeating: "x", count: 300))
        #expect(outer.contents(of: 1) == [inner.bytes])
        #expect(outer.text(of: 2)?.count == 300 && outer.text(of: 4) == nil)
        #expect(ProtobufMessage(outer.contents(of: 1)[0]).text(of: 1) == "docker.io/a:1")
        #expect(inner.bytes == [0x0A, 13] + Array("docker.io/a:1".utf8))
    }

    @Test("no bytes stop the reading of a message", arguments: 1...200) func anyBytes(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let bytes = (0..<Int(random.next() % 64)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let message = ProtobufMessage(bytes)
        for field in 0..<8 { #expect(message.contents(of: field).allSatisfy { $0.count <= bytes.count }) }
        let extremes = ProtobufMessage([0x0A] + [UInt8](repeating: 0xFF, count: 9) + [0x01])
        #expect(extremes.contents(of: 1).isEmpty)
    }

    @Test(
        "clocks that differ are named",
        arguments: [(0, .ok), (4_000, .ok), (-20_000, .warning), (90_000, .failed), (.min, .failed), (.max, .failed)]
            as [(Int64, Check.State)])
    func clock(_ milliseconds: Int64, _ state: Check.State) {
        #expect(MirrorChecks.clock(milliseconds, now: 0).state == state)
        #expect(MirrorChecks.clock(milliseconds, now: milliseconds).state == .ok)
    }

    @Test("a check is a line, and what to do is another") func text() {
        let check = Check(name: "server", subject: "http://m", .failed, "no answer", remedy: "start it")
        #expect(check.text == "failed  server http://m: no answer\n        → start it")
        #expect(Check(name: "clock", .ok, "agree").text == "ok      clock: agree")
    }
}
