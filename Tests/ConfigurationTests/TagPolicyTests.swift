// Tag policies: which one applies to a tag, and how a wrong one is refused.

import Testing

@testable import Configuration
@testable import OCI

@Suite struct TagPolicyTests {
    private static let entries = """
        tagPolicies:
        - match: '^docker\\.io/library/.*:\\d+\\.\\d+\\.\\d+$'
          ttl: never
        - match: ':latest$'
          ttl: 1m
          staleIfError: 12h
        - match: '^quay\\.io/'
          ttl: 0s
          staleWhileRevalidate: 90s
          cooldown: 0s
          onUpstreamDelete: remove
        - match: 'team'
        """

    /// A configuration, an image, and its policy in words; `…` stands for the defaults after the ttl.
    private static let table: [(String, String, String)] = [
        ("", "debian:12", "ttl 5m, … (the default)"),
        ("tagPolicies: []", "debian", "ttl 5m, … (the default)"),
        ("tagTTL: never", "debian:12", "ttl never, … (tagTTL)"),
        ("tagTTL: 1500ms", "debian", "ttl 1500ms, … (tagTTL)"),
        ("alwaysPullLatest: true", "debian", "ttl 0s, … (alwaysPullLatest)"),
        ("alwaysPullLatest: true", "debian:12", "ttl 5m, … (the default)"),
        ("alwaysPullLatest: true\ntagTTL: never", "debian:1", "ttl never, … (tagTTL)"),
        (entries, "debian:1.2.3", "ttl never, … (tagPolicies[0] '^docker\\.io/library/.*:\\d+\\.\\d+\\.\\d+$')"),
        (
            entries, "quay.io/a/b",
            "ttl 1m, staleWhileRevalidate 0s, staleIfError 12h, cooldown 0s, "
                + "onUpstreamDelete keep (tagPolicies[1] ':latest$')"
        ),
        (
            entries, "quay.io/a/b:1",
            "ttl 0s, staleWhileRevalidate 90s, staleIfError forever, cooldown 0s, onUpstreamDelete remove "
                + "(tagPolicies[2] '^quay\\.io/')"
        ),
        (entries, "ghcr.io/team/b:1", "ttl 5m, … (tagPolicies[3] 'team')"),
        (entries, "ghcr.io/a/b:1", "ttl 5m, … (the default: no entry of tagPolicies matches)"),
    ]

    @Test("the first entry that matches sets a tag's policy", arguments: table)
    func policies(_ yaml: String, _ image: String, _ text: String) throws {
        let name = try #require(ImageName(image))
        let policies = try decode(yaml).tags
        let text = text.replacing(
            "…", with: "staleWhileRevalidate 0s, staleIfError forever, cooldown 0s, onUpstreamDelete keep")
        let tag = name.tag ?? "latest"
        #expect(policies.explanation(host: name.host, repository: name.repository, tag: tag) == text)
        let decided = policies.decide(host: name.host, repository: name.repository, tag: tag)
        #expect(text.hasPrefix(decided.text))
        if let fixed = policies.fixed(isLatest: tag == "latest") { #expect(fixed == decided) }
    }

    @Test("a match that meets its limit has the upstream asked each time") func limit() throws {
        let yaml = "tagPolicies: [{match: '(a+)+$', ttl: never}, {match: '.*', ttl: 1h}]"
        let policies = try decode(yaml).tags
        let host = try #require(RegistryHost("x.test"))
        func policy(_ text: String) throws -> TagPolicy {
            policies.decide(host: host, repository: try #require(RepositoryName(text)), tag: "b")
        }
        #expect(try policy(String(repeating: "a", count: 100)) == .strict)
        #expect(try policy("b").ttl == TagSpan(milliseconds: 3_600_000))
    }

    @Test(
        "a wrong policy is refused with its line, key and reason",
        arguments: [
            ("tagPolicies: x", "c.yaml:1: tagPolicies: must be a list of entries with match"),
            ("tagPolicies:\n- ttl: 5m", "c.yaml:2: tagPolicies[0]: needs match, an expression for host/repository:tag"),
            ("tagPolicies:\n- match: ''", "c.yaml:2: tagPolicies[0].match: must not be empty"),
            (
                "tagPolicies:\n- match: 'a(b'",
                "c.yaml:2: tagPolicies[0].match: pattern 'a(b', at 3: missing closing parenthesis"
            ),
            ("tagPolicies: [x]", "c.yaml:1: tagPolicies[0]: must be a mapping of keys to values"),
            (
                "tagPolicies:\n- match: a\n  ttl: soon",
                "c.yaml:3: tagPolicies[0].ttl: must be never, 0s, or a whole number and a unit (ns us ms s m h d) up "
                    + "to 36500d, not \"soon\""
            ),
            (
                "tagPolicies:\n- match: a\n  staleIfError: never",
                "c.yaml:3: tagPolicies[0].staleIfError: must be forever, 0s, or a whole number and a unit (ns us ms s "
                    + "m h d) up to 36500d, not \"never\""
            ),
            (
                "tagPolicies:\n- {match: a, cooldown: forever}",
                "c.yaml:2: tagPolicies[0].cooldown: must be 0s, or a whole number and a unit (ns us ms s m h d) up to "
                    + "36500d, not \"forever\""
            ),
            (
                "tagPolicies:\n- {match: a, onUpstreamDelete: drop}",
                "c.yaml:2: tagPolicies[0].onUpstreamDelete: must be keep or remove, not \"drop\""
            ),
            ("tagPolicies: [{match: a, tll: 5m}]", "c.yaml:1: tagPolicies[0].tll: unknown key; did you mean ttl?"),
            (
                "tagTTL: forever",
                "c.yaml:1: tagTTL: must be never, 0s, or a whole number and a unit (ns us ms s m h d) "
                    + "up to 36500d, not \"forever\""
            ),
            (
                "tagPolicies: [{match: a}]\ntagTTL: 5m",
                "c.yaml:2: tagTTL: cannot be set beside tagPolicies: set ttl in an entry of tagPolicies instead"
            ),
            (
                "alwaysPullLatest: true\ntagPolicies: [{match: a}]",
                "c.yaml:1: alwaysPullLatest: cannot be set beside tagPolicies: "
                    + "set ttl in an entry of tagPolicies instead"
            ),
        ])
    func refusals(_ yaml: String, _ printed: String) {
        #expect(complaint(yaml) == printed)
    }

    @Test("values that change nothing are accepted beside tagPolicies") func inert() throws {
        #expect(complaint("tagPolicies: [{match: a}]\nalwaysPullLatest: false\ntagTTL:") == "")
        #expect(complaint("tagPolicies:\ntagTTL: 5m\nalwaysPullLatest: true") == "")
        var config = try decode("tagPolicies: [{match: a}]")
        #expect(config.conflictOfTags == nil)
        config.alwaysPullLatest = true
        #expect(
            config.conflictOfTags?.refusal.reason.hasPrefix("alwaysPullLatest: cannot be set beside tagPolicies")
                == true)
    }

    @Test("the number of entries is bounded") func bounds() {
        func list(_ count: Int) -> String {
            "tagPolicies: [\(Array(repeating: "{match: a}", count: count).joined(separator: ","))]"
        }
        #expect(complaint(list(256)) == "")
        #expect(complaint(list(257)) == "c.yaml:1: tagPolicies: must have at most 256 entries, not 257")
    }
}
