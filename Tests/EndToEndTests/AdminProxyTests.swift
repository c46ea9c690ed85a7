// Administration behind real reverse proxies. nginx with nothing but `proxy_pass` sends a loopback Host and no field
// that shows forwarding, and HAProxy passes on the Host that a client made up: neither may open `/cmd/` to others.

import Foundation
import TestSupport
import Testing

@testable import Registry

@Suite(.needs(.nginx, .haproxy, .skopeo, .curl)) struct AdminProxyTests {
    enum Kind: CaseIterable { case nginx, haproxy }

    private static let paths = [
        "/cmd/", "/cmd/nothing", "/cmd/manifest/list", "/cmd/image/list?count=1", "/cmd/blob/list", "/cmd/table",
        "/cmd/prune?type=pattern&expr=.", "/cmd/stop", "/cmd/load?files=x&directory=/", "/cmd/verify", "/%63md/stop",
    ]
    private static let methods = ["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"]

    /// The least that people configure.
    private static func bare(_ kind: Kind, to server: String) throws -> ReverseProxy {
        switch kind {
        case .nginx:
            try .nginx { "server { listen \($0); location / { proxy_pass http://\(server); } }" }
        case .haproxy:
            try .haproxy { "listen images\n    bind \($0)\n    server one \(server)" }
        }
    }

    private static func pull(_ image: String, through address: String, to files: TemporaryDirectory) throws {
        let target = files.file("pulled-\(address)")
        try Command.check([
            "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--preserve-digests",
            "docker://\(address)/\(image)", "dir:\(target)",
        ])
    }

    @Test(
        "a bare reverse proxy serves images and denies commands to clients with Host: localhost",
        arguments: Kind.allCases)
    func bareProxy(_ kind: Kind) throws {
        let scene = try AdminScene()
        let server = try scene.serve()
        let proxy = try Self.bare(kind, to: server.address)
        for path in Self.paths {
            for method in Self.methods {
                let way = method == "HEAD" ? ["--head"] : ["-X", method]
                let answer = try scene.curl(path, at: proxy.address, way + ["-H", "Host: localhost"])
                #expect(answer.status == 403, "\(method) \(path)")
            }
        }
        let reason = try scene.curl("/cmd/stop", at: proxy.address, ["-H", "Host: localhost"])
        #expect(reason.body.contains("Unix socket") && reason.body.contains("adminListen"), "\(reason)")
        #expect(!reason.body.contains(scene.imagePath))
        try Self.pull("docker.io/team/app:v1", through: proxy.address, to: scene.files)
        #expect(try scene.run(["list"]).text.split(separator: "\n").count == 4, "nothing was pruned")
        #expect(try server.stop() == 0)
    }

    @Test(
        "the documented proxy configurations serve images and refuse /cmd/ even with the token",
        arguments: Kind.allCases)
    func documentedProxies(_ kind: Kind) throws {
        let scene = try AdminScene()
        let server = try scene.serve([
            "--admin-on-serving-port", "--health", "0", "--config-file",
            try scene.files.write("adminToken: sesame\n", to: "token.yaml"),
        ])
        let health = try server.process.line(containing: "  health: http://", in: server.process.errors)
        let healthPort = health.components(after: "127.0.0.1:").prefix(while: \.isNumber)
        let text = try Self.documented(kind)
        func adapted(_ address: String) throws -> String {
            let changes = [
                (kind == .nginx ? "listen 5000" : "bind :5000", "\(kind == .nginx ? "listen" : "bind") \(address)"),
                ("127.0.0.1:8080", server.address), ("check port 8081", "check port \(healthPort)"),
            ]
            return try changes.reduce(text) { text, change in
                guard text.contains(change.0) else {
                    // nginx asks no health listener.
                    try #require(kind == .nginx && change.0.hasPrefix("check"), "no '\(change.0)' in the example")
                    return text
                }
                return text.replacingOccurrences(of: change.0, with: change.1)
            }
        }
        let proxy = try kind == .nginx ? ReverseProxy.nginx(http: adapted) : ReverseProxy.haproxy(sections: adapted)
        let token = ["-H", "Authorization: Bearer sesame"]
        #expect(try scene.curl("/cmd/manifest/list", at: server.address, token).status == 200)
        for path in Self.paths where path.hasPrefix("/cmd/") {
            #expect(try scene.curl(path, at: proxy.address, token).status == 403, "\(path)")
        }
        try Self.pull("docker.io/team/app:v1", through: proxy.address, to: scene.files)
        #expect(try server.stop() == 0)
    }

    /// The example in the document.
    private static func documented(_ kind: Kind) throws -> String {
        let blocks = try SourceTree.text("docs/operations.md").components(separatedBy: "```")
        let mark = kind == .nginx ? "nginx\n" : "haproxy\n"
        let block = try #require(blocks.first { $0.hasPrefix(mark) }, "no example of \(kind)")
        return String(block.dropFirst(mark.count))
    }
}
