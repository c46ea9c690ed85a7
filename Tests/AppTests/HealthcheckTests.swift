// `healthcheck`: which address it asks, what it makes of a response, and responses that no server of this project
// sends.

import ArgumentParser
import Foundation
import Registry
import TestSupport
import Testing

@testable import App
@testable import Configuration

@Suite struct HealthcheckTests {
    private func command(_ arguments: [String]) throws -> Healthcheck {
        try #require(try OCIRegistry.parseAsRoot(arguments) as? Healthcheck)
    }

    private func address(_ arguments: [String], of server: Serve? = nil) throws -> String {
        try HealthTarget.url(of: command(["healthcheck"] + arguments).config(of: server)).text
    }

    @Test(
        "the health listener is asked where there is one, and else the serving port",
        arguments: [
            ([], "http://127.0.0.1:8080/v2/"), (["--port", "5000"], "http://127.0.0.1:5000/v2/"),
            (["--health", "8081"], "http://127.0.0.1:8081/readyz"),
            (["--host", "0.0.0.0"], "http://127.0.0.1:8080/v2/"),
            (["--host", "localhost"], "http://127.0.0.1:8080/v2/"),
            (["--host", "10.1.2.3", "--health", "8081"], "http://10.1.2.3:8081/readyz"),
            (["--host", "::"], "http://[::1]:8080/v2/"), (["--host", "0:0:0::0"], "http://[::1]:8080/v2/"),
            (["--host", "[fd00::7]", "--health", "81"], "http://[fd00::7]:81/readyz"),
        ] as [([String], String)])
    func addresses(_ arguments: [String], _ expected: String) throws {
        #expect(try address(arguments) == expected)
    }

    @Test("options override the configuration file, and other problems of the file do not matter") func file() throws {
        let files = try TemporaryDirectory()
        let file = try files.write("host: \"::\"\nhealth: 8081\nmaxBytes: much\n", to: "config.yaml")
        #expect(try address(["--config-file", file]) == "http://[::1]:8081/readyz")
        #expect(try address(["--config-file", file, "--health", "82"]) == "http://[::1]:82/readyz")
    }

    @Test(
        "a file without a usable address is refused with its name",
        arguments: ["port: 70000\n", "health: x\n", "host: example.org\n", "port: [", ": : :\n", "just text\n"])
    func wrongFiles(_ yaml: String) throws {
        let files = try TemporaryDirectory()
        let file = try files.write(yaml, to: "config.yaml")
        let error = #expect(throws: ConfigError.self) { try address(["--config-file", file]) }
        #expect(error?.description.contains("config.yaml") == true)
        #expect(throws: ConfigError.self) { try address(["--config-file", files.file("missing.yaml")]) }
    }

    @Test("any free port cannot be asked") func anyPort() {
        #expect(throws: Refusal("port: 0 is any free port: name the server's with --url")) {
            try address(["--port", "0"])
        }
        #expect(throws: Refusal("health: 0 is any free port: name the server's with --url")) {
            try address(["--health", "0"])
        }
    }

    @Test(
        "wrong options are refused by name",
        arguments: [
            ("--url", "ftp://x/"), ("--url", "http://a:b@x/"), ("--url", "readyz"), ("--process", "0"),
            ("--process", "-1"), ("--process", "99999999999999999999"), ("--timeout", "0"),
            ("--timeout", "99999999999999999999"), ("--port", "65536"),
        ])
    func refusals(_ option: String, _ value: String) throws {
        let refusal = try #require(parseRefusal(["healthcheck", option, value]))
        #expect(refusal.status == 64 && refusal.message.contains(option), "\(refusal.message)")
    }

    // MARK: The command line of a process

    private func server(_ words: [String]) -> Serve? {
        ServerCommandLine.options(words.flatMap { Array($0.utf8) + [0] })
    }

    @Test("the options of a server's process are taken, also behind an init") func processOptions() throws {
        let files = try TemporaryDirectory()
        let file = try files.write("port: 5000\n", to: "config.yaml")
        let plain = ["/usr/bin/ociregistry", "--config-file", file, "serve", "--host", "::1"]
        #expect(try address([], of: server(plain)) == "http://[::1]:5000/v2/")
        #expect(try address([], of: server(["/sbin/docker-init", "--"] + plain)) == "http://[::1]:5000/v2/")
        #expect(try address(["--port", "5001"], of: server(plain)) == "http://[::1]:5001/v2/")
        let other = try files.write("health: 8081\n", to: "other.yaml")
        #expect(try address(["--config-file", other], of: server(plain)) == "http://[::1]:8081/readyz")
    }

    @Test("the process of another program has no options") func otherProcesses() {
        #expect(server(["/pause"]) == nil)
        #expect(server(["ociregistry", "list"]) == nil)
        #expect(server(["ociregistry", "serve", "--port", "x"]) == nil)
        #expect(ServerCommandLine.options([]) == nil)
        #expect(ServerCommandLine.options([0, 0, 0xFF]) == nil)
        #expect(ServerCommandLine.options(Array("ociregistry".utf8)) == nil)
    }

    @Test("a process that does not exist is an error") func noProcess() {
        #expect(throws: Failure.self) { try ServerCommandLine.options(ofProcess: Int32.max) }
    }

    // MARK: Responses

    private func result(of url: String, withinMilliseconds limit: UInt64 = 60_000) throws -> HealthResult {
        let target = try HealthTarget.url(url)
        return HealthResult(try HealthProbe.get(target, withinMilliseconds: limit), url: target)
    }

    @Test("status 200 is healthy, and every other status is not, with the reasons on one line") func statuses() throws {
        let site = try ScriptedSite([
            "/readyz": [
                .init(body: Array("ok\n".utf8)), .init(status: 503, body: Array("stopping\nstore: \u{1B}[2J\n".utf8)),
            ], "/moved": [.init(status: 302, fields: [("Location", "/readyz")])],
        ])
        let base = "http://\(site.address)"
        #expect(try result(of: "\(base)/readyz") == .init(isHealthy: true, text: "\(base)/readyz: ok"))
        #expect(
            try result(of: "\(base)/readyz")
                == .init(isHealthy: false, text: "\(base)/readyz: status 503: stopping; store:  [2J"))
        #expect(try result(of: "\(base)/moved") == .init(isHealthy: false, text: "\(base)/moved: status 302"))
        #expect(try result(of: "\(base)/other") == .init(isHealthy: false, text: "\(base)/other: status 404"))
        withExtendedLifetime(site) {}
    }

    @Test("a body that is too long is unhealthy, and a long one is shown in part") func longBodies() throws {
        let endless = ScriptedSite.Answer(pieces: Array(repeating: [UInt8](repeating: 0x61, count: 1 << 16), count: 64))
        let long = ScriptedSite.Answer(body: [UInt8](repeating: 0x61, count: 5000))
        let site = try ScriptedSite(["/endless": [endless], "/long": [long]])
        let refused = try result(of: "http://\(site.address)/endless")
        #expect(!refused.isHealthy && refused.text.hasSuffix("status 200, with a body of more than 65536 bytes"))
        let accepted = try result(of: "http://\(site.address)/long")
        #expect(accepted.isHealthy && accepted.text.utf8.count < 400)
        withExtendedLifetime(site) {}
    }

    @Test("a server that does not answer is unhealthy once the time is over") func silence() throws {
        let silent = try SilentSite()
        let result = try result(of: "http://\(silent.address)/readyz", withinMilliseconds: 50)
        #expect(!result.isHealthy, "\(result.text)")
        withExtendedLifetime(silent) {}
    }

    @Test("a refused connection is unhealthy") func refused() throws {
        let result = try result(of: "http://127.0.0.1:\(LoopbackPort.free())/readyz")
        #expect(!result.isHealthy && result.text.contains("onnect"), "\(result.text)")
    }

    @Test(
        "responses that are not HTTP, or are cut off, are unhealthy",
        arguments: [
            "", "\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 99999999999999999999 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        ])
    func oddResponses(_ response: String) throws {
        let (listener, port) = try PlainSocket.listen(backlog: 8)
        Thread.detachNewThread {
            let client = accept(listener, nil, nil)
            var request = [UInt8](repeating: 0, count: 4096)
            _ = recv(client, &request, request.count, 0)
            _ = Array(response.utf8).withUnsafeBytes { send(client, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            close(client)
            close(listener)
        }
        let result = try result(of: "http://127.0.0.1:\(port)/readyz")
        #expect(!result.isHealthy, "\(result.text)")
        #expect(!result.text.contains("\n"))
    }
}
