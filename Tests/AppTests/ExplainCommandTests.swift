// The arguments of `explain`.

import ArgumentParser
import Testing

@testable import App
@testable import OCI
@testable import Registry

@Suite struct ExplainCommandTests {
    @Test("a name, an address and a user are accepted") func arguments() throws {
        let parsed = try OCIRegistry.parseAsRoot([
            "--config-file", "c.yaml", "explain", "alpine", "--from", "2001:db8::1", "--user", "someone",
        ])
        let explain = try #require(parsed as? Explain)
        #expect(explain.name == "alpine" && explain.from?.text == "2001:db8::1" && explain.user == "someone")
        #expect(explain.global.configFile == "c.yaml")
        let plain = try #require(try OCIRegistry.parseAsRoot(["explain", "quay.io/a/b:1"]) as? Explain)
        #expect(plain.from == nil && plain.user == nil)
    }

    @Test(
        "an invalid name, address or user ends with status 64 and the reason",
        arguments: [
            (["explain"], "name"), (["explain", "Foo"], "invalid repository name"), (["explain", "a:.b"], "no tag"),
            (["explain", "a", "--from", "localhost"], "IPv4 or IPv6 address"),
            (["explain", "a", "--from", "10.0.0.0/8"], "IPv4 or IPv6 address"),
            (["explain", "a", "--user", ""], "must be a name"), (["explain", "a", "--user", "a:b"], "must be a name"),
            (["explain", "a", "--user", "a\nb"], "must be a name"),
            (["explain", "a", "--user", String(repeating: "a", count: 256)], "must be a name"),
        ])
    func refused(_ arguments: [String], _ reason: String) throws {
        let refusal = try #require(parseRefusal(arguments))
        #expect(refusal.status == 64 && refusal.message.contains(reason), "\(refusal)")
    }
}
