// The health listener of the executable, from its banner to its end.

import Foundation
import TestSupport
import Testing

@Suite struct HealthProcessTests {
    private func curl(_ url: String) throws -> (status: String, body: String) {
        let curl = try ChildProcess(["curl", "-s", "-w", "\n%{http_code}", url])
        _ = try curl.wait()
        let lines = curl.output.text.split(separator: "\n", omittingEmptySubsequences: false)
        return (String(lines.last ?? ""), lines.dropLast().joined(separator: "\n"))
    }

    @Test("the health listener answers until the process ends, and is not ready while it stops", .needs(.curl))
    func shutdown() throws {
        // An upstream that takes connections and says nothing keeps a client waiting, and with it the server's end.
        let silent = try SilentSite()
        defer { withExtendedLifetime(silent) {} }
        let server = try OciRegistryProcess(
            upstreams: ["silent.test": silent.address], arguments: ["--health", "0", "--log-level", "debug"])
        let banner = try server.process.line(containing: "  health: http://127.0.0.1:", in: server.process.errors)
        let ready = String(banner.components(after: "health: "))
        let base = String(ready.dropLast("/readyz".count))
        #expect(try curl(ready).status == "200")
        #expect(try curl("\(base)/health") == ("200", ""))
        #expect(try curl("\(base)/livez") == ("200", "ok\n"))
        #expect(try curl("\(base)/v2/").status == "404")

        let client = try ChildProcess(["curl", "-s", "http://\(server.address)/v2/silent.test/x/manifests/latest"])
        _ = try server.process.line(containing: "asking upstream", in: server.process.errors)
        kill(server.process.processID, SIGTERM)
        _ = try server.process.line(containing: "stopping", in: server.process.errors)
        #expect(try curl(ready) == ("503", "stopping\n"))
        #expect(try curl("\(base)/livez").status == "200")
        // Told again, it does not wait for the client.
        #expect(try server.stop() == 0)
        _ = try client.wait()
    }

    private func healthcheck(_ arguments: String...) throws -> (status: Int32, text: String) {
        let check = try ChildProcess([Checkout.server, "healthcheck"] + arguments)
        let status = try check.wait()
        return (status, check.output.text + check.errors.text)
    }

    @Test("healthcheck asks the server of a configuration file or of a process, and says why it fails")
    func healthcheckCommand() throws {
        let server = try OciRegistryProcess(settings: "health: \(LoopbackPort.free())\n")
        let banner = try server.process.line(containing: "  health: http://127.0.0.1:", in: server.process.errors)
        let ready = String(banner.components(after: "health: "))
        let healthy = (Int32(0), "healthy: \(ready): ok\n")
        #expect(try healthcheck("--config-file", server.configurationFile) == healthy)
        #expect(try healthcheck("--process", "\(server.process.processID)") == healthy)
        let serving = "http://\(server.address)/v2/"
        #expect(try healthcheck("--url", serving) == (0, "healthy: \(serving): {}\n"))
        #expect(
            try healthcheck("--url", "http://\(server.address)/nothing").text
                .hasPrefix("unhealthy: http://\(server.address)/nothing: status 404"))

        #expect(try server.stop() == 0)
        let stopped = try healthcheck("--config-file", server.configurationFile)
        #expect(stopped.status == 1 && stopped.text.hasPrefix("unhealthy: \(ready): "), "\(stopped.text)")
        #expect(stopped.text.split(separator: "\n").count == 1)
        #expect(try healthcheck("--process", "\(server.process.processID)").status == 1)
    }

    @Test("healthcheck reaches a server that listens on all IPv6 and IPv4 addresses")
    func healthcheckOnAnyAddress() throws {
        let (port, files) = (LoopbackPort.free(), try TemporaryDirectory())
        let server = try ChildProcess([
            Checkout.server, "serve", "--host", "::", "--port", "0", "--health", "\(port)", "--image-path",
            files.file("images"),
        ])
        _ = try server.line(containing: "  health: http://[::]:", in: server.errors)
        for address in ["::", "0.0.0.0", "127.0.0.1", "::1"] {
            #expect(try healthcheck("--host", address, "--health", "\(port)").status == 0, "\(address)")
        }
    }

    @Test("two listeners on one port stop the start with status 78") func sharedPort() throws {
        let server = try ChildProcess([Checkout.server, "serve", "--port", "8123", "--health", "8123"])
        #expect(try server.wait() == 78)
        #expect(server.errors.text == "health: 8123 is the port of port already\n")
    }
}
