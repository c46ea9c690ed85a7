// The doors that are not the socket: the serving port, which is for this machine's operator only, and a listener of its
// own. What may not get in changes nothing.

import Foundation
import Testing

@testable import Registry

@Suite struct AdminDoorsTests {
    private static let prune = "/cmd/prune?type=pattern&expr=."

    @Test(.needs(.curl)) func pagesAndProxiesCannotPruneOrStopAndTheOperatorCan() throws {
        let scene = try AdminScene()
        let server = try scene.serve()
        let port = server.address.components(after: ":")
        for field in [
            "Origin: https://evil.example", "Origin: http://localhost:\(port)", "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site", "X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1", "Via: 1.1 nginx",
            "Host: mirror:\(port)", "Host: rebound.example", "Referer: https://evil.example/",
        ] {
            let stop = try scene.curl("/cmd/stop", at: server.address, ["-H", field])
            #expect(stop.status == 403 && stop.body.hasPrefix("administration is not open to this request"), "\(field)")
            #expect(try scene.curl(Self.prune, at: server.address, ["-X", "DELETE", "-H", field]).status == 403)
            #expect(try scene.curl("/cmd/manifest/list", at: server.address, ["-H", field]).status == 403)
        }
        // A page asks before it deletes, and is not told that it may.
        let asks = [
            "-X", "OPTIONS", "-H", "Origin: https://evil.example", "-H", "Access-Control-Request-Method: DELETE",
        ]
        #expect(try scene.curl(Self.prune, at: server.address, asks).status == 403)
        #expect(try scene.run(["list"]).text.split(separator: "\n").count == 4, "nothing was pruned")
        for host in ["localhost", "127.0.0.2:\(port)", "[::1]:\(port)"] {
            let answer = try scene.curl("/cmd/manifest/list", at: server.address, ["-H", "Host: \(host)"])
            #expect(answer.lines.count == 5, "\(host)")
        }
        #expect(
            try scene.curl("/cmd/prune?type=pattern&expr=team", at: server.address, ["-X", "DELETE"]).status == 200)
        #expect(try scene.curl("/cmd/manifest/list", at: server.address).lines.count == 4)
        #expect(try scene.curl("/cmd/stop", at: server.address).status == 200)
        #expect(try server.process.wait() == 0)
        #expect(server.process.errors.text.contains("administration refused"))
    }

    /// In a network of its own, whose one interface has an address that is not a loopback one; as root only, who may
    /// make such a network. What is decided about it is tested without (AdminAccessTests).
    @Test(.needs(.root, .iproute2)) func aRemoteClientCannot() throws {
        let scene = try AdminScene()
        let script = """
            ip link set lo up && ip address add 10.99.0.1/32 dev lo || exit 9
            "$0" serve --image-path "$1" --host 0.0.0.0 --port 8099 --air-gapped 2>/dev/null &
            ask() { curl -sS --retry 60 --retry-connrefused -o /dev/null -w '%{http_code} ' "$@"; }
            ask http://10.99.0.1:8099/v2/
            ask http://10.99.0.1:8099/cmd/stop
            ask -H 'Host: localhost' http://10.99.0.1:8099/cmd/stop
            ask -X DELETE -H 'Host: 127.0.0.1' 'http://10.99.0.1:8099\(Self.prune)'
            ask http://127.0.0.1:8099/cmd/manifest/list
            ask http://127.0.0.1:8099/cmd/stop
            wait $! && echo ended
            """
        let result = try Command.run(["unshare", "--net", "sh", "-c", script, Checkout.server, scene.imagePath])
        #expect(result.text == "200 403 403 403 200 200 ended\n", "\(result)")
        #expect(try scene.run(["list"]).text.split(separator: "\n").count == 4, "nothing was pruned")
    }

    @Test(.needs(.curl)) func aListenerOfItsOwnTakesTheToken() throws {
        let scene = try AdminScene()
        let file = try scene.files.write("logLevel: info\nadminTokenFromEnv: ADMIN_TOKEN\n", to: "token.yaml")
        let child = try ChildProcess(
            [
                Checkout.server, "serve", "--config-file", file, "--image-path", scene.imagePath, "--host", "127.0.0.1",
                "--port", "0", "--air-gapped", "--admin-listen", "127.0.0.1:0",
            ], environment: ["ADMIN_TOKEN": "open-sesame"])
        let line = try child.line(containing: "administration: http://", in: child.errors)
        let address = String(line.components(after: "http://").prefix { $0 != "/" })
        #expect(try scene.curl("/cmd/manifest/list", at: address).status == 401)
        #expect(try scene.curl("/cmd/stop", at: address, ["-H", "Authorization: Bearer open-sesam"]).status == 401)
        let token = ["-H", "Authorization: Bearer open-sesame", "-H", "Host: registry.example", "-H", "Via: 1.1 proxy"]
        #expect(try scene.curl("/cmd/manifest/list", at: address, token).lines.count == 5)
        #expect(try scene.curl("/v2/", at: address, token).status == 404, "nothing else is served there")
        // The token is for that listener: on the serving port it changes nothing.
        #expect(try scene.curl("/cmd/stop", at: address, token).status == 200)
        #expect(try child.wait() == 0)
        #expect(!child.errors.text.contains("sesame"))
    }

    @Test func anOpenListenerWithoutATokenStopsTheStart() throws {
        let scene = try AdminScene()
        let result = try scene.run(["serve", "--host", "127.0.0.1", "--port", "0", "--admin-listen", "0.0.0.0:0"])
        #expect(result.status == 78)
        #expect(result.errors.hasPrefix("adminListen: 0.0.0.0 is not a loopback address, so adminToken"))
    }
}
