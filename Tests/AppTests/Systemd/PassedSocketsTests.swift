// Which sockets systemd has passed, and that no value of its variables ends the process.

import Configuration
import Glibc
import OCI
import TestSupport
import Testing

@testable import App
@testable import Registry

@Suite struct PassedSocketsTests {
    private static let processID: pid_t = 77

    /// The sockets of these variables. LISTEN_PID is this process's unless it is given.
    private func passed(_ variables: [String: String], first: Int32 = 3) throws(Refusal) -> PassedSockets {
        let all = ["LISTEN_PID": "\(Self.processID)"].merging(variables) { $1 }
        return try PassedSockets(environment: { all[$0] }, processID: Self.processID, first: first)
    }

    private func reason(_ variables: [String: String], first: Int32 = 3) -> String {
        do throws(Refusal) {
            _ = try passed(variables, first: first)
            return "none"
        } catch {
            return error.reason
        }
    }

    @Test(
        "without sockets of its own, the process has none",
        arguments: [
            [:], ["LISTEN_FDS": "0"], ["LISTEN_FDS": "0", "LISTEN_FDNAMES": ""],
            ["LISTEN_FDS": "2", "LISTEN_PID": "78"],
            ["LISTEN_FDS": "many", "LISTEN_PID": "78"],
        ])
    func none(variables: [String: String]) throws {
        #expect(try passed(variables).isEmpty)
        #expect(try PassedSockets(environment: { _ in nil }, processID: 1).isEmpty)
        // LISTEN_FDS without LISTEN_PID, as it is left by a program that has removed one of them.
        #expect(try PassedSockets(environment: { $0 == "LISTEN_FDS" ? "1" : nil }, processID: 1).isEmpty)
    }

    @Test(
        "a wrong variable is refused, and the message names it",
        arguments: [
            (["LISTEN_PID": ""], "LISTEN_PID: must be a process id"),
            (["LISTEN_PID": "-77"], "LISTEN_PID: must be a process id"),
            (["LISTEN_PID": "99999999999999999999999"], "LISTEN_PID: must be a process id"),
            (["LISTEN_FDS": ""], "LISTEN_FDS: must be a number up to 64, not \"\""),
            (["LISTEN_FDS": "-1"], "LISTEN_FDS: must be a number up to 64, not \"-1\""),
            (["LISTEN_FDS": "65"], "LISTEN_FDS: must be a number up to 64, not \"65\""),
            (["LISTEN_FDS": "2147483647"], "LISTEN_FDS: must be a number"),
            (["LISTEN_FDS": "18446744073709551616"], "LISTEN_FDS: must be a number"),
            (["LISTEN_FDS": "2", "LISTEN_FDNAMES": "http"], "LISTEN_FDNAMES: has 1 names for the 2 sockets"),
            (["LISTEN_FDS": "1", "LISTEN_FDNAMES": "http:http"], "LISTEN_FDNAMES: has 2 names for the 1 sockets"),
            (["LISTEN_FDS": "1", "LISTEN_FDNAMES": "www"], "LISTEN_FDNAMES: unknown name \"www\""),
            (["LISTEN_FDS": "1", "LISTEN_FDNAMES": ""], "LISTEN_FDNAMES: unknown name \"\""),
            (["LISTEN_FDS": "1", "LISTEN_FDNAMES": "connection"], "LISTEN_FDNAMES: unknown name \"connection\""),
        ] as [([String: String], String)])
    func wrong(variables: [String: String], expected: String) {
        #expect(reason(["LISTEN_FDS": "1"].merging(variables) { $1 }).hasPrefix(expected))
    }

    @Test("a descriptor that is no listening TCP socket is refused, and the message says what it is")
    func wrongDescriptors() throws {
        let one = ["LISTEN_FDS": "1", "LISTEN_FDNAMES": "metrics"]
        func expect(_ text: String, _ descriptor: Int32) {
            #expect(
                reason(one, first: descriptor) == "LISTEN_FDS: descriptor \(descriptor), the socket metrics, \(text)")
            close(descriptor)
        }
        func made(_ family: Int32, _ kind: __socket_type) -> Int32 {
            socket(family, Int32(kind.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        }
        expect("is not a socket", open("/dev/null", O_RDONLY | O_CLOEXEC))
        expect("is not a TCP socket", made(AF_INET, SOCK_DGRAM))
        expect("is not a TCP socket", made(AF_UNIX, SOCK_STREAM))
        expect(
            "is not a listening socket: it needs ListenStream= with a port, and Accept=no", made(AF_INET, SOCK_STREAM))
        let holder = try PlainSocket.listen(backlog: 1)
        expect(
            "is not a listening socket: it needs ListenStream= with a port, and Accept=no",
            PlainSocket.connect(to: holder.port))
        close(holder.descriptor)
        #expect(reason(one, first: Int32.max - 1).hasSuffix("is not open"))
    }

    @Test(
        "the name of a socket says what it is for; without names it is the serving port",
        arguments: [
            ("http", "http"), ("ociregistry", "http"), ("ociregistry.socket", "http"), (nil, "http"),
            ("metrics", "metrics"), ("health", "health"), ("admin", "admin"),
        ] as [(String?, String)])
    func names(name: String?, use: String) throws {
        let (descriptor, port) = try PlainSocket.listen(backlog: 1)
        defer { close(descriptor) }
        var variables = ["LISTEN_FDS": "1"]
        variables["LISTEN_FDNAMES"] = name
        let passed = try passed(variables, first: descriptor)
        #expect(passed.text == "\(use) 127.0.0.1:\(port)")
        let socket = try #require(PassedSockets.Use(rawValue: use).flatMap { passed[$0].first })
        #expect(socket.descriptor == descriptor && socket.host == "127.0.0.1" && socket.port == port)
        #expect(fcntl(descriptor, F_GETFL) & O_NONBLOCK != 0 && fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0)
        // What is configured for another listener stays.
        var config = Config()
        (config.port, config.metricsPort, config.healthPort) = (1, 2, 3)
        passed.apply(to: &config)
        #expect(config.port == (use == "http" ? 0 : 1))
        #expect(config.metricsPort == (use == "metrics" ? 0 : 2))
        #expect(config.healthPort == (use == "health" ? 0 : 3))
        #expect(config.adminListen == (use == "admin" ? ListenPoint(host: "127.0.0.1", port: 0) : nil))
        #expect(config.host == Config().host)
    }
}
