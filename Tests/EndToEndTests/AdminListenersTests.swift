// Administration elsewhere than on the socket: closed on the serving port unless configuration opens it for a token,
// and open on a listener of its own. What is refused changes nothing.

import Foundation
import TestSupport
import Testing

@testable import Registry

@Suite struct AdminListenersTests {
    private static let prune = "/cmd/prune?type=pattern&expr=."

    @Test("a loopback adminListen without a token serves local clients, but no web pages or proxies", .needs(.curl))
    func loopbackListener() throws {
        let scene = try AdminScene()
        let server = try scene.serve(["--admin-listen", "127.0.0.1:0"])
        let address = try scene.adminAddress(of: server.process)
        let port = address.components(after: ":")
        for field in [
            "Origin: https://evil.example", "Origin: http://localhost:\(port)", "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site", "X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1", "Via: 1.1 nginx",
            "Host: mirror:\(port)", "Host: rebound.example", "Referer: https://evil.example/",
        ] {
            let stop = try scene.curl("/cmd/stop", at: address, ["-X", "POST", "-H", field])
            #expect(stop.status == 403 && stop.body.hasPrefix("administration is not open to this request"), "\(field)")
            #expect(try scene.curl(Self.prune, at: address, ["-X", "DELETE", "-H", field]).status == 403)
            #expect(try scene.curl("/cmd/manifest/list", at: address, ["-H", field]).status == 403)
        }
        // A page asks before it deletes, and is not told that it may.
        let asks = [
            "-X", "OPTIONS", "-H", "Origin: https://evil.example", "-H", "Access-Control-Request-Method: DELETE",
        ]
        #expect(try scene.curl(Self.prune, at: address, asks).status == 403)
        #expect(try scene.run(["list"]).text.split(separator: "\n").count == 4, "nothing was pruned")
        for host in ["localhost", "127.0.0.2:\(port)", "[::1]:\(port)"] {
            let answer = try scene.curl("/cmd/manifest/list", at: address, ["-H", "Host: \(host)"])
            #expect(answer.lines.count == 5, "\(host)")
        }
        #expect(try scene.curl("/cmd/prune?type=pattern&expr=team", at: address, ["-X", "DELETE"]).status == 200)
        #expect(try scene.curl("/cmd/manifest/list", at: address).lines.count == 4)
        // A link that is followed stops nothing.
        let link = try scene.curl("/cmd/stop", at: address, ["-i"])
        #expect(link.status == 405 && link.body.lowercased().contains("\nallow: post\r"), "\(link)")
        let json = try scene.curl("/cmd/stop", at: address, ["-H", "Accept: application/json"])
        #expect(json.status == 405 && json.body.hasPrefix("{\"errors\":[{\"code\":\"UNSUPPORTED\""), "\(json)")
        #expect(try scene.curl("/cmd/stop", at: address, ["-X", "POST"]).status == 200)
        #expect(try server.process.wait() == 0)
        #expect(server.process.errors.text.contains("administration refused"))
    }

    /// In a network of its own, whose one interface has an address that is not a loopback one; as root only, who may
    /// make such a network. What is decided about it is tested without (AdminAccessTests).
    @Test(
        "admin commands are refused on the serving port for a remote client, whatever its Host",
        .needs(.root, .iproute2))
    func remoteClient() throws {
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
            ask --unix-socket "$1/store-v1/ADMIN" http://localhost/cmd/stop
            wait $! && echo ended
            """
        let result = try Command.run(["unshare", "--net", "sh", "-c", script, Checkout.server, scene.imagePath])
        #expect(result.text == "200 403 403 403 403 200 ended\n", "\(result)")
        #expect(try scene.run(["list"]).text.split(separator: "\n").count == 4, "nothing was pruned")
    }

    @Test("the admin listener requires the token and serves nothing but admin commands", .needs(.curl))
    func adminListener() throws {
        let scene = try AdminScene()
        let file = try scene.files.write("logLevel: info\nadminTokenFromEnv: ADMIN_TOKEN\n", to: "token.yaml")
        let child = try ChildProcess(
            [
                Checkout.server, "serve", "--config-file", file, "--image-path", scene.imagePath, "--host", "127.0.0.1",
                "--port", "0", "--air-gapped", "--admin-listen", "127.0.0.1:0",
            ], environment: ["ADMIN_TOKEN": "open-sesame"])
        let address = try scene.adminAddress(of: child)
        #expect(try scene.curl("/cmd/manifest/list", at: address).status == 401)
        #expect(try scene.curl("/cmd/stop", at: address, ["-H", "Authorization: Bearer open-sesam"]).status == 401)
        let token = ["-H", "Authorization: Bearer open-sesame", "-H", "Host: registry.example", "-H", "Via: 1.1 proxy"]
        #expect(try scene.curl("/cmd/manifest/list", at: address, token).lines.count == 5)
        #expect(try scene.curl("/v2/", at: address, token).status == 404, "nothing else is served there")
        let serving = try scene.servingAddress(of: child)
        let other = try scene.curl("/cmd/manifest/list", at: serving, token)
        #expect(other.status == 403, "the token is for that listener")
        #expect(try scene.curl("/cmd/stop", at: address, token).status == 405)
        #expect(try scene.curl("/cmd/stop", at: address, token + ["-X", "POST"]).status == 200)
        #expect(try child.wait() == 0)
        #expect(!child.errors.text.contains("sesame"))
    }

    @Test("the serving port refuses every command for every local client, as text and as JSON", .needs(.curl))
    func servingPortIsClosed() throws {
        let scene = try AdminScene()
        let server = try scene.serve()
        for path in ["/cmd/stop", "/cmd/manifest/list", "/cmd/nothing", "/cmd/", "/cmd/%73top"] {
            for method in ["GET", "POST", "DELETE"] {
                let answer = try scene.curl(path, at: server.address, ["-X", method])
                #expect(answer.status == 403, "\(method) \(path)")
                #expect(answer.body.contains("Unix socket") && answer.body.contains("adminListen"), "\(answer)")
            }
        }
        let json = try scene.curl("/cmd/stop", at: server.address, ["-H", "Accept: application/json"])
        #expect(json.status == 403 && json.body.hasPrefix("{\"errors\":[{\"code\":\"DENIED\""), "\(json)")
        // The socket still takes what the reference's scripts send.
        #expect(try scene.curl("/cmd/stop").status == 200)
        #expect(try server.process.wait() == 0)
    }

    @Test("adminOnServingPort accepts the token on the serving port", .needs(.curl))
    func servingPortWithAToken() throws {
        let scene = try AdminScene()
        let file = try scene.files.write("adminToken: open-sesame\n", to: "token.yaml")
        let child = try ChildProcess([
            Checkout.server, "serve", "--config-file", file, "--image-path", scene.imagePath, "--host", "127.0.0.1",
            "--port", "0", "--air-gapped", "--admin-on-serving-port",
        ])
        let address = try scene.servingAddress(of: child)
        #expect(try scene.curl("/cmd/manifest/list", at: address).status == 401)
        let token = ["-H", "Authorization: Bearer open-sesame"]
        #expect(try scene.curl("/cmd/manifest/list", at: address, token).lines.count == 5)
        #expect(try scene.curl("/cmd/verify", at: address, token + ["-X", "POST"]).status == 403, "for the socket")
        #expect(try scene.curl("/cmd/stop", at: address, token).status == 405)
        #expect(try scene.curl("/cmd/stop", at: address, token + ["-X", "POST"]).status == 200)
        #expect(try child.wait() == 0)
    }

    @Test("adminOnServingPort without a token stops the start")
    func servingPortWithoutAToken() throws {
        let scene = try AdminScene()
        let start = ["serve", "--host", "127.0.0.1", "--port", "0"]
        let flag = try scene.run(start + ["--admin-on-serving-port"])
        #expect(flag.status == 78 && flag.errors.hasPrefix("adminOnServingPort: needs adminToken"), "\(flag)")
        let file = try scene.files.write("port: 0\nadminOnServingPort: true\n", to: "open.yaml")
        let key = try scene.run(start + ["--config-file", file])
        #expect(key.status == 78, "\(key)")
        #expect(key.errors.hasPrefix("\(file):2: adminOnServingPort: needs adminToken or adminTokenFromEnv"), "\(key)")
    }

    @Test("an adminListen on all addresses without a token stops the start with status 78") func openListener() throws {
        let scene = try AdminScene()
        let result = try scene.run(["serve", "--host", "127.0.0.1", "--port", "0", "--admin-listen", "0.0.0.0:0"])
        #expect(result.status == 78)
        #expect(result.errors.hasPrefix("adminListen: 0.0.0.0 is not a loopback address, so adminToken"))
    }
}
