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

    @Test("two listeners on one port stop the start with status 78") func sharedPort() throws {
        let server = try ChildProcess([Checkout.server, "serve", "--port", "8123", "--health", "8123"])
        #expect(try server.wait() == 78)
        #expect(server.errors.text == "health: 8123 is the port of port already\n")
    }
}
