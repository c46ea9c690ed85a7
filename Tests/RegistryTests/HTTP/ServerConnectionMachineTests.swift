// The life of a server connection, step by step.

import TestSupport
import Testing

@testable import Registry

@Suite struct ServerConnectionMachineTests {
    private static let get = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

    private func step(_ machine: inout ServerConnectionMachine, _ text: String) -> ServerConnectionMachine.Step {
        Array(text.utf8).withUnsafeBytes { machine.next($0) }
    }

    private func isRequest(_ step: ServerConnectionMachine.Step) -> Bool {
        if case .request = step { true } else { false }
    }

    @Test("pipelined requests are answered one at a time") func pipelining() {
        var machine = ServerConnectionMachine()
        #expect(machine.isIdle)
        #expect(isRequest(step(&machine, Self.get + Self.get)))
        #expect(machine.isAnswering && !machine.isIdle && !machine.mustClose)
        #expect(step(&machine, Self.get) == .needMore)
        machine.responseFinished()
        #expect(isRequest(step(&machine, Self.get)))
        machine.responseFinished()
        #expect(step(&machine, "") == .needMore)
        #expect(machine.isIdle)
        let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
        expectSameHoweverCut(Self.get + "\r\n" + Self.get + post + Self.get)
    }

    @Test("a connection with part of a request head is not idle") func slowHead() {
        var machine = ServerConnectionMachine()
        #expect(step(&machine, "GET / HT") == .needMore)
        #expect(!machine.isIdle)
    }

    @Test("a short request body is skipped after the response, and the connection stays open") func shortBodies() {
        var machine = ServerConnectionMachine()
        #expect(isRequest(step(&machine, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 65536\r\n\r\n")))
        #expect(!machine.mustClose)
        machine.responseFinished()
        #expect(step(&machine, "") == .needMore)
        #expect(step(&machine, String(repeating: "x", count: 65_000)) == .skip(65_000))
        #expect(step(&machine, String(repeating: "x", count: 536) + Self.get) == .skip(536))
        #expect(isRequest(step(&machine, Self.get)))
    }

    @Test(
        "a connection with a long, chunked or expected body is closed after the response",
        arguments: [
            "Content-Length: 65537", "Content-Length: 18446744073709551615", "Transfer-Encoding: chunked",
            "Content-Length: 1\r\nExpect: 100-continue", "Transfer-Encoding: chunked\r\nExpect: x, 100-Continue",
            "Connection: close",
        ])
    func longBodies(fields: String) {
        var machine = ServerConnectionMachine()
        #expect(isRequest(step(&machine, "PUT / HTTP/1.1\r\nHost: h\r\n\(fields)\r\n\r\n")))
        #expect(machine.mustClose)
        machine.responseFinished()
        #expect(step(&machine, Self.get) == .skip(Self.get.utf8.count))
        #expect(step(&machine, "") == .end)
    }

    /// RFC 9110 §10.1.1: the expectation means nothing without a body, nor in HTTP/1.0.
    @Test("an Expect field without a body or in HTTP/1.0 is ignored") func ignoredExpectations() throws {
        var machine = ServerConnectionMachine()
        #expect(isRequest(step(&machine, "GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n")))
        #expect(!machine.mustClose)
        machine = ServerConnectionMachine()
        let old = "PUT / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        #expect(isRequest(step(&machine, old)))
        #expect(!machine.mustClose)
    }

    @Test("a refused connection ends, and its further input is skipped") func refusal() {
        var machine = ServerConnectionMachine()
        #expect(step(&machine, "\u{16}\u{3}") == .refuse(.requestLine))
        #expect(machine.mustClose && !machine.isIdle)
        #expect(step(&machine, Self.get) == .skip(Self.get.utf8.count))
        #expect(step(&machine, "") == .end)
    }

    @Test("requests that arrived before the client's end are answered") func halfClosed() {
        var machine = ServerConnectionMachine()
        #expect(isRequest(step(&machine, Self.get + Self.get)))
        machine.inputEnded()
        machine.responseFinished()
        #expect(isRequest(step(&machine, Self.get)))
        machine.responseFinished()
        #expect(step(&machine, "") == .end)
        machine = ServerConnectionMachine()
        #expect(step(&machine, "GET / HT") == .needMore)
        machine.inputEnded()
        #expect(step(&machine, "GET / HT") == .end)
    }

    @Test("a head sent byte by byte is bounded") func slowBytes() {
        var machine = ServerConnectionMachine()
        var bytes = Array("GET / HTTP/1.1\r\nHost: h\r\nX: ".utf8)
        while bytes.count < RequestParser.maximumHeadBytes - 1 {
            bytes.append(0x61)
            #expect(bytes.withUnsafeBytes { machine.next($0) } == .needMore)
        }
        bytes.append(0x61)
        #expect(bytes.withUnsafeBytes { machine.next($0) } == .refuse(.headTooLarge))
    }

    @Test("the state of a connection takes at most 32 bytes") func size() {
        #expect(MemoryLayout<ServerConnectionMachine>.size <= 32)
    }
}
