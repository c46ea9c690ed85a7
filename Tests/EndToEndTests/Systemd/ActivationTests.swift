// The executable on sockets that another process has opened, as systemd's socket units do (Tests/Systemd/manager.py).

import Foundation
import TestSupport
import Testing

@Suite struct ActivationTests {
    private static let manager = "\(Checkout.root)/Tests/Systemd/manager.py"
    private static let pullers = "\(Checkout.root)/Tests/Systemd/pullers.py"
    private static let manifest = "/v2/docker.io/library/hello-world/manifests/latest"

    private func curl(_ url: String) throws -> String {
        try Command.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url]).text
    }

    @Test("restarts on a passed socket refuse no connection and lose no request", .needs(.python3))
    func restarts() throws {
        let files = try TemporaryDirectory()
        // The configured port is another process's, so binding it would fail.
        let holder = PortHolder()
        defer { holder.close() }
        let service = try ChildProcess([
            "python3", Self.manager, "http", Checkout.server, "serve", "--image-path", files.file("images"),
            "--host", "127.0.0.1", "--port", "\(holder.port)", "--hello-world",
        ])
        let address = try service.line(containing: "http 127.0.0.1:", in: service.output).dropFirst("http ".count)
        _ = try service.line(containing: "listening on http://\(address)", in: service.errors)
        _ = try service.line(containing: "  sockets from systemd: http \(address)", in: service.errors)
        let clients = try ChildProcess(["python3", Self.pullers, "\(address)", Self.manifest, "16"])
        func waitForResponses() {
            let before = clients.output.lines.count
            #expect(clients.output.wait { $0.split(separator: "\n").count > before + 1 })
        }
        for number in 1...3 {
            waitForResponses()
            kill(service.processID, SIGUSR1)
            _ = try service.line(containing: "restart \(number)", in: service.output)
        }
        waitForResponses()
        kill(clients.processID, SIGTERM)
        #expect(try clients.wait() == 0)
        let summary = try #require(clients.output.lines.last)
        #expect(summary.hasPrefix("ok ") && summary.hasSuffix(", failed 0 []"), "\(summary)\n\(service.errors.text)")
        kill(service.processID, SIGTERM)
        #expect(try service.wait() == 0)
    }

    @Test("each listener takes the passed socket of its name, configured or not", .needs(.python3, .curl))
    func names() throws {
        let files = try TemporaryDirectory()
        let service = try ChildProcess([
            "python3", Self.manager, "health:http:admin:metrics:http", Checkout.server, "serve", "--image-path",
            files.file("images"), "--hello-world", "--metrics", "1",
        ])
        let banner = try service.line(containing: "  sockets from systemd: ", in: service.errors)
        let sockets = service.output.lines
        #expect(banner == "  sockets from systemd: \(sockets.joined(separator: ", "))")
        let addresses = try sockets.map { try #require($0.split(separator: " ").last) }
        #expect(try curl("http://\(addresses[0])/readyz") == "200")
        #expect(try curl("http://\(addresses[1])\(Self.manifest)") == "200")
        #expect(try curl("http://\(addresses[2])/cmd/manifest/list") == "200")
        #expect(try curl("http://\(addresses[3])/metrics") == "200")
        #expect(try curl("http://\(addresses[4])\(Self.manifest)") == "200")
        #expect(service.errors.text.contains("  metrics: http://\(addresses[3])/metrics"))
        kill(service.processID, SIGTERM)
        #expect(try service.wait() == 0)
    }

    @Test(
        "wrong variables or descriptors stop the start with status 78",
        arguments: [
            ("LISTEN_PID=x LISTEN_FDS=1", "LISTEN_PID: must be a process id, not \"x\""),
            ("LISTEN_FDS=-5", "LISTEN_FDS: must be a number up to 64, not \"-5\""),
            ("LISTEN_FDS=99999999999999999999", "LISTEN_FDS: must be a number up to 64"),
            ("LISTEN_FDS=1 LISTEN_FDNAMES=a:b", "LISTEN_FDNAMES: has 2 names for the 1 sockets of LISTEN_FDS"),
            ("LISTEN_FDS=1 LISTEN_FDNAMES=www", "LISTEN_FDNAMES: unknown name \"www\""),
            ("LISTEN_FDS=1", "LISTEN_FDS: descriptor 3, the socket http, is not a socket"),
            ("LISTEN_FDS=2 LISTEN_FDNAMES=http:admin", "LISTEN_FDS: descriptor 3, the socket http, is not a socket"),
        ])
    func wrong(variables: String, message: String) throws {
        let files = try TemporaryDirectory()
        let script = "LISTEN_PID=$$; export LISTEN_PID; exec env \(variables) \"$0\" \"$@\" 3</dev/null"
        let result = try Command.run([
            "sh", "-c", script, Checkout.server, "serve", "--image-path", files.file("images"), "--port", "0",
        ])
        #expect(result.status == 78 && result.errors.hasPrefix(message), "\(result)")
        #expect(!FileManager.default.fileExists(atPath: files.file("images")))
    }

    @Test("an admin socket that other machines can reach needs a token", .needs(.python3)) func adminToken() throws {
        let files = try TemporaryDirectory()
        let script = try files.write(
            try String(contentsOfFile: Self.manager, encoding: .utf8).replacingOccurrences(
                of: "(\"127.0.0.1\", 0)", with: "(\"0.0.0.0\", 0)"), to: "manager.py")
        let result = try Command.run([
            "python3", script, "admin", Checkout.server, "serve", "--image-path", files.file("images"), "--port", "0",
        ])
        #expect(result.status == 78, "\(result)")
        #expect(result.errors.hasPrefix("adminListen: 0.0.0.0 is not a loopback address"), "\(result)")
    }
}
