// Rules on names, with a real client and a real registry.

import Foundation
import TestSupport
import Testing

@Suite(.needs(.sampleImages)) struct NameRulesTests {
    private static let rules = """
        deny: ['/library/classic$']
        allow: ['docker\\.io/library/[^/]*', 'docker\\.io/a/.*']
        registriesOnly: true

        """

    private static func inspect(_ name: String) throws -> Command.Result {
        try Command.run(["skopeo", "inspect", "--raw", "--tls-verify=false", "docker://\(name)"])
    }

    @Test("skopeo pulls what the rules allow, and names the rule for what they deny, cached or not")
    func skopeo() throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let files = try TemporaryDirectory()
        let images = try files.directory("images")
        let upstreams = ["docker.io": upstream.address]
        let open = try OciRegistryProcess(upstreams: upstreams, imagePath: images)
        for image in [SampleImage.classic, SampleImage.multi] {
            #expect(try Self.inspect("\(open.address)/docker.io/\(image)").status == 0)
        }
        #expect(try open.stop() == 0)

        let closed = try OciRegistryProcess(upstreams: upstreams, imagePath: images, settings: Self.rules)
        for image in [SampleImage.multi, SampleImage.many] {
            let copy = try Command.run([
                "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
                "docker://\(closed.address)/docker.io/\(image)", "dir:\(files.file(image.tag))",
            ])
            #expect(copy.status == 0, "\(copy)")
        }
        for (name, rule) in [
            ("docker.io/\(SampleImage.classic)", "deny[0] '/library/classic$'"),
            ("docker.io/other/x:1", "no expression of allow matches"),
            ("quay.io/library/x:1", "registriesOnly: no entry of registries names it"),
        ] {
            let result = try Self.inspect("\(closed.address)/\(name)")
            #expect(result.status != 0)
            #expect(result.errors.contains("may not be pulled here: \(rule)"), "\(result)")
        }
        #expect(try closed.stop() == 0)
        let denied = closed.process.errors.text.split(separator: "\n").filter { $0.contains("request denied") }
        #expect(denied.count == 3, "\(denied)")
        let asked = try upstream.stop()
        // Once, by the server without rules.
        #expect(asked.filter { $0.contains("/library/classic/manifests/") }.count == 1, "\(asked)")
        #expect(!asked.contains { $0.contains("/other/") || $0.contains("/v2/library/x/") })
    }

    @Test("new rules are in force after SIGHUP, for cached content too") func reloaded() throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let files = try TemporaryDirectory()
        let registries = "registries: [{name: docker.io, endpoint: \"http://\(upstream.address)\"}]\n"
        let config = try files.write(registries, to: "c.yaml")
        let server = try ChildProcess([
            Checkout.server, "serve", "--config-file", config, "--image-path", files.file("images"), "--host",
            "127.0.0.1", "--port", "0", "--log-level", "warn",
        ])
        let mark = "listening on http://"
        let line = try server.line(containing: mark, in: server.errors)
        let name = "\(line.components(after: mark).prefix { $0 != " " && $0 != "/" })/docker.io/\(SampleImage.multi)"
        for _ in 0..<3 { #expect(try Self.inspect(name).status == 0) }
        try files.write("deny: [multi]\n" + registries, to: "c.yaml")
        kill(server.processID, SIGHUP)
        _ = try server.line(containing: "the configuration was reloaded", in: server.errors)
        let result = try Self.inspect(name)
        #expect(result.status != 0 && result.errors.contains("may not be pulled here: deny[0] 'multi'"), "\(result)")
        server.stop()
        #expect(try server.wait() == 0)
        #expect(try upstream.stop().filter { $0.contains("/manifests/") && $0.hasPrefix("GET ") }.count == 1)
    }

    @Test("load without a server fails for a denied image, and explain and check-config know the rules")
    func commands() throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let files = try TemporaryDirectory()
        let config = try files.write(
            "imagePath: \(files.file("images"))\n\(Self.rules)"
                + "registries: [{name: docker.io, endpoint: \"http://\(upstream.address)\"}]\n", to: "c.yaml")
        let list = try files.write("classic\n\(SampleImage.multi)\nquay.io/x\n", to: "list.txt")
        let load = try Command.run([Checkout.server, "load", "--image-file", list, "--config-file", config])
        #expect(load.status == 1, "\(load)")
        #expect(load.text.hasPrefix("1 loaded, 0 in the cache already"), "\(load)")
        #expect(load.errors.contains("may not be pulled here: deny[0] '/library/classic$'"), "\(load)")
        #expect(load.errors.contains("may not be pulled here: registriesOnly: no entry"), "\(load)")
        #expect(try upstream.stop().allSatisfy { !$0.contains("/classic/") })
        let explain = try Command.run([Checkout.server, "explain", "classic", "--config-file", config])
        #expect(explain.text.contains("\npull: denied: deny[0] '/library/classic$'\n"), "\(explain)")
        #expect(try Command.run([Checkout.server, "check-config", config]).status == 0)
        let wrong = try files.write("deny:\n- ok\n- 'a('\n", to: "wrong.yaml")
        for command in [["check-config", wrong], ["serve", "--config-file", wrong]] {
            let result = try Command.run([Checkout.server] + command)
            #expect(result.status == 78 && result.errors.contains("\(wrong):3: deny[1]: pattern 'a('"), "\(result)")
        }
    }
}
