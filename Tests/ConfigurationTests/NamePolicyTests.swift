// The rules on names: what each decides, in which order, and how a wrong one is refused.

import Testing

@testable import Configuration
@testable import OCI

@Suite struct NamePolicyTests {
    private static func decide(_ yaml: String, _ name: String) throws -> NameDecision {
        let image = try #require(ImageName(name))
        return try decode(yaml).namePolicy.decide(host: image.host, repository: image.repository)
    }

    /// A configuration, a name, and the rule that denies it; empty when it is allowed.
    private static let table: [(String, String, String)] = [
        // deny matches anywhere in the name.
        ("deny: [evil/]", "quay.io/evil/x", "deny[0] 'evil/'"),
        ("deny: [evil/]", "quay.io/team/medieval/x", ""),
        ("deny: [evil/]", "evil.example/x", ""),
        ("deny: [evil]", "evil.example/x", "deny[0] 'evil'"),
        ("deny: ['^quay\\.io/', '/x$']", "docker.io/team/x", "deny[1] '/x$'"),
        ("deny: ['^docker\\.io/library/debian$']", "debian", "deny[0] '^docker\\.io/library/debian$'"),
        ("deny: ['^docker\\.io/library/debian$']", "index.docker.io/debian", "deny[0] '^docker\\.io/library/debian$'"),
        ("deny: ['^docker\\.io/library/debian$']", "docker.io/library/debian-x", ""),
        ("deny: ['/a{1,2}$']", "quay.io/aa", "deny[0] '/a{1,2}$'"), ("deny: ['/a{1,2}$']", "quay.io/aaa", ""),
        // A comma is an ordinary character.
        ("deny: ['a,b']", "quay.io/a", ""),
        // allow matches the whole name.
        ("allow: ['quay\\.io/team/.*']", "quay.io/team/app", ""),
        ("allow: ['quay\\.io/team/.*']", "quay.io/team", "no expression of allow matches"),
        ("allow: ['quay\\.io/team']", "quay.io/team/app", "no expression of allow matches"),
        ("allow: ['io/team/app']", "quay.io/team/app", "no expression of allow matches"),
        ("allow: ['quay\\.io/a|quay\\.io/ab']", "quay.io/ab", ""),
        ("allow: ['quay\\.io/a|b']", "quay.io/ab", "no expression of allow matches"),
        ("allow: ['(?x) quay\\.io/.* # all of it']", "quay.io/x", ""),
        ("allow: ['docker\\.io/library/.*', 'quay\\.io/.*']", "quay.io/a", ""),
        ("allow: ['docker\\.io/library/[^/]*']", "debian", ""),
        // deny goes first.
        ("allow: ['quay\\.io/.*']\ndeny: [secret]", "quay.io/secret", "deny[0] 'secret'"),
        ("deny: []\nallow: ['.*']", "quay.io/x", ""),
        // registriesOnly, by name and by pattern.
        ("registriesOnly: true\nregistries: [{name: quay.io}]", "quay.io/x", ""),
        (
            "registriesOnly: true\nregistries: [{name: quay.io}]", "docker.io/x",
            "registriesOnly: no entry of registries names it"
        ),
        (
            "registriesOnly: true\nregistries: [{name: quay.io}]", "quay.io:8443/x",
            "registriesOnly: no entry of registries names it"
        ),
        ("registriesOnly: true\nregistries: [{name: registry-1.docker.io}]", "debian", ""),
        ("registriesOnly: true\nregistries: [{name: '*.example'}]", "a.b.example/x", ""),
        (
            "registriesOnly: true\nregistries: [{name: '*.example'}]", "example/x:1",
            "registriesOnly: no entry of registries names it"
        ),
        ("registriesOnly: true\nregistries: [{name: '*'}]", "any.host/x", ""),
        ("registriesOnly: false\nregistries: [{name: quay.io}]", "docker.io/x", ""),
        (
            "registriesOnly: true\nregistries: [{name: quay.io}]\ndeny: [x]\nallow: ['quay.*']", "docker.io/x",
            "deny[0] 'x'"
        ),
        (
            "registriesOnly: true\nregistries: [{name: quay.io}]\nallow: ['.*']", "docker.io/a/x",
            "registriesOnly: no entry of registries names it"
        ),
        (
            "registriesOnly: true\nregistries: [{name: quay.io}]\nallow: ['.*/y']", "quay.io/x",
            "no expression of allow matches"
        ),
        // The port of https is no way around deny, and none into allow.
        ("deny: ['^quay\\.io/evil/']", "quay.io:443/evil/x", "deny[0] '^quay\\.io/evil/'"),
        ("deny: ['^docker\\.io/evil/']", "registry-1.docker.io:443/evil/x", "deny[0] '^docker\\.io/evil/'"),
        ("deny: ['^quay\\.io/evil/']", "quay.io:8443/evil/x", ""),
        ("allow: ['quay\\.io/.*']", "quay.io:443/x", "no expression of allow matches"),
    ]

    @Test("the rules decide in the order deny, registriesOnly, allow", arguments: table)
    func decisions(_ yaml: String, _ name: String, _ rule: String) throws {
        switch try Self.decide(yaml, name) {
        case .allowed: #expect(rule.isEmpty)
        case .denied(_, let text): #expect(text == rule)
        }
    }

    @Test("a match that meets its limit denies, in deny and in allow")
    func limits() throws {
        let name = "x.test/" + String(repeating: "a", count: 100) + "/b"
        let deny = "deny: [never, '(a+)+$']"
        #expect(try Self.decide(deny, name) == .denied(by: .deny, rule: "deny[1] '(a+)+$' meets its match limit"))
        let allow = "allow: ['x\\.test/(a+)+', '.*']"
        #expect(
            try Self.decide(allow, name)
                == .denied(by: .allow, rule: "allow[0] 'x\\.test/(a+)+' meets its match limit"))
        #expect(try Self.decide("allow: ['x\\.test/.*', 'x\\.test/(a+)+']", name) == .allowed)
        #expect(try Self.decide(deny, "x.test/b") == .allowed)
    }

    @Test("a long expression is cut in the text of its rule") func longExpression() throws {
        let decision = try Self.decide("deny: ['x\(String(repeating: "y?", count: 200))']", "quay.io/x")
        guard case .denied(.deny, let rule) = decision else {
            Issue.record("allowed")
            return
        }
        #expect(rule.count < 120 && rule.hasPrefix("deny[0] 'xy?y?") && rule.hasSuffix("…'"))
    }

    @Test("without rules every name is allowed, and the policy is open")
    func open() throws {
        for yaml in ["", "deny: []", "registriesOnly: false", "registries: [{name: quay.io}]"] {
            let policy = try decode(yaml).namePolicy
            #expect(policy.isOpen && policy == NamePolicy(), "\(yaml)")
        }
        for yaml in ["deny: [a]", "allow: [a]", "registriesOnly: true\nregistries: [{name: quay.io}]"] {
            #expect(try !decode(yaml).namePolicy.isOpen, "\(yaml)")
        }
    }

    @Test("an empty deny is refused: it is what remains of a list whose items are commented out")
    func emptyDeny() {
        #expect { try decode("deny:\nport: 5000") } throws: { "\($0)".contains("deny: is empty: remove the key") }
    }

    @Test("policies are equal when their sources are") func equality() throws {
        #expect(try decode("deny: [a, b]").namePolicy == decode("deny: [a, b]").namePolicy)
        #expect(try decode("deny: [a, b]").namePolicy != decode("deny: [b, a]").namePolicy)
        #expect(try decode("deny: [a]").namePolicy != decode("allow: [a]").namePolicy)
        let only = "registriesOnly: true\nregistries: "
        #expect(try decode(only + "[{name: a.b}]").namePolicy != decode(only + "[{name: a.c}]").namePolicy)
        #expect(try decode(only + "[{name: a.b}]").namePolicy == decode(only + "[{name: a.b}]").namePolicy)
        // Which registries there are matters only where it is a rule.
        #expect(try decode("deny: [a]\nregistries: [{name: a.b}]").namePolicy == decode("deny: [a]").namePolicy)
    }

    @Test("the explanation names the rule that allows or denies") func explanations() throws {
        func explain(_ yaml: String) throws -> String {
            let image = try #require(ImageName("quay.io/team/app"))
            return try decode(yaml).namePolicy.explanation(host: image.host, repository: image.repository)
        }
        #expect(try explain("") == "allowed: no allow, deny or registriesOnly is configured")
        #expect(try explain("deny: [evil]") == "allowed: no expression of deny matches")
        #expect(try explain("deny: [team]") == "denied: deny[0] 'team'")
        #expect(try explain("allow: [a, 'quay.*']") == "allowed: allow[1] 'quay.*'")
        #expect(
            try explain("registriesOnly: true\nregistries: [{name: a.b}, {name: '*'}]")
                == "allowed: registries[1] names its registry")
    }

    @Test(
        "a wrong rule is refused with its line, key and reason",
        arguments: [
            ("deny: evil", "c.yaml:1: deny: must be a list of expressions"),
            ("allow: {a: b}", "c.yaml:1: allow: must be a list of expressions"),
            ("deny:\n- ok\n- 'a(b'", "c.yaml:3: deny[1]: pattern 'a(b', at 3: missing closing parenthesis"),
            ("\nallow: ['[a', b]", "c.yaml:2: allow[0]: pattern '[a', at 2: missing terminating ] for character class"),
            ("deny: [a, '']", "c.yaml:1: deny[1]: must not be empty"),
            ("deny:\n- a\n-\n", "c.yaml:3: deny[1]: must not be empty"),
            ("deny: [[a]]", "c.yaml:1: deny[0]: must be a single value, not a list"),
            ("allow: []", "c.yaml:1: allow: would deny everything; leave the key out"),
            ("port: 1\nallow:\n", "c.yaml:2: allow: would deny everything; leave the key out"),
            ("registriesOnly: maybe", #"c.yaml:1: registriesOnly: must be true or false, not "maybe""#),
            ("registriesOnly: true", "c.yaml:1: registriesOnly: would deny everything: registries has no entry"),
            (
                "registries: []\nregistriesOnly: true",
                "c.yaml:2: registriesOnly: would deny everything: registries has no entry"
            ),
            ("denny: [a]", "c.yaml:1: denny: unknown key; did you mean deny?"),
        ])
    func refusals(_ yaml: String, _ printed: String) {
        #expect(complaint(yaml) == printed)
    }

    @Test("every wrong expression is reported") func several() {
        let printed = complaint("deny: ['(', a, ')']\nallow: ['*']").split(separator: "\n")
        #expect(
            printed.map { String($0.prefix { $0 != "p" }) } == [
                "c.yaml:1: deny[0]: ", "c.yaml:1: deny[2]: ", "c.yaml:2: allow[0]: ",
            ])
    }

    @Test("the number of expressions and the length of each are bounded") func bounds() throws {
        func list(_ count: Int) -> String { "deny: [\(Array(repeating: "a", count: count).joined(separator: ","))]" }
        let limit = NameExpression.maximumCount
        #expect(complaint(list(limit)) == "")
        #expect(complaint(list(limit + 1)) == "c.yaml:1: deny: must have at most 256 expressions, not 257")
        let long = String(repeating: "a", count: Pattern.maximumBytes + 1)
        #expect(complaint("deny: [\(long)]") == "c.yaml:1: deny[0]: the pattern is longer than 16384 bytes")
    }
}
