// Entries of `registries`: names that are patterns, endpoints with paths, and kinds of credentials.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI

@Suite struct RegistryEntryTests {
    // MARK: Patterns

    private static let matches: [(pattern: String, host: String, isMatch: Bool)] = [
        ("*", "docker.io", true), ("*", "127.0.0.1:5000", true), ("*.example", "a.example", true),
        ("*.example", "a.b.example", true), ("*.example", "example", false), ("*.example", "a.example:5000", false),
        ("*.example:5000", "a.example:5000", true), ("a.*.example", "a.b.example", true),
        ("a.*.example", "a.b.c.example", false), ("a.*.example", "a..example", false),
        ("r*.example", "r1.example", true),
        ("r*.example", "r.example", false), ("r*.example", "r1.2.example", false),
        ("*.dkr.ecr.*.amazonaws.com", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", true),
        ("*.dkr.ecr.*.amazonaws.com", "123456789012.dkr.ecr.eu.west.amazonaws.com", false),
        ("*.DKR.example", "a.dkr.example", true), ("*a*a*a*.example", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.examplf", false),
    ]

    @Test("a star in a name stands for characters without a dot, and at the start for any", arguments: matches)
    func matching(_ pattern: String, _ host: String, _ isMatch: Bool) throws {
        guard let name = RegistryHost(host) else { return #expect(!isMatch) }
        #expect(try RegistryPattern(parsing: pattern).matches(name) == isMatch)
    }

    private static let overlaps: [(one: String, other: String, isOverlap: Bool)] = [
        ("*.example", "*.example", true), ("*.a.example", "*.b.example", false), ("a*.example", "*b.example", true),
        ("a*.example", "b*.example", false), ("a.*.x", "*.b.x", true), ("*.ab.c", "*.b.xc", false),
        ("a.*", "*.a", true), ("*:5000", "*:5001", false), ("a.*.example", "a.b.*.example", false),
    ]

    @Test("two patterns overlap when some host matches both", arguments: overlaps)
    func overlapping(_ one: String, _ other: String, _ isOverlap: Bool) throws {
        let (one, other) = (try RegistryPattern(parsing: one), try RegistryPattern(parsing: other))
        #expect(one.overlaps(other) == isOverlap && other.overlaps(one) == isOverlap)
    }

    @Test(
        "patterns that are no hosts, or cannot be told apart, are refused",
        arguments: [
            ("[{name: '**.example'}]", "registries[0].name: must be a registry host[:port], or one with * in it"),
            ("[{name: '*/a'}]", "registries[0].name: must be a registry host[:port], or one with * in it"),
            ("[{name: 'a:*'}]", "registries[0].name: must be a registry host[:port], or one with * in it"),
            ("[{name: '*.a'}, {name: '*.a'}]", "registries[1].name: *.a is configured already, by registries[0]"),
            (
                "[{name: 'a*.x'}, {name: '*b.x'}]",
                "registries[1].name: matches hosts that registries[0], a*.x, matches too, and neither is more specific"
            ),
            ("[{name: '*', auth: {user: u, password: p}}]", "registries[0].auth: cannot be set for every host"),
            (
                "[{name: '*', tls: {cert: /etc/passwd, key: /etc/passwd}}]",
                "registries[0].tls: cannot have a client key for every host"
            ),
        ])
    func refusedPatterns(_ entries: String, _ reason: String) {
        #expect(complaint("registries: \(entries)").hasPrefix("c.yaml:1: \(reason)"))
    }

    @Test("patterns of different rank, and a host beside a pattern, are accepted") func acceptedPatterns() throws {
        let names = ["*", "*.example", "a.example", "a*.example"]
        let yaml = "registries: [" + names.map { "{name: '\($0)'}" }.joined(separator: ", ") + "]"
        #expect(try decode(yaml).registries.map(\.name.text) == names)
    }

    // MARK: Endpoints

    private static let addresses: [(text: String, origin: String, prefix: String, repository: String)] = [
        ("https://a.example", "https://a.example", "", ""),
        ("HTTP://A.example:5000/", "http://a.example:5000", "", ""),
        ("https://harbor.example/dockerhub-proxy", "https://harbor.example", "", "dockerhub-proxy"),
        ("https://h.example/v2/dockerhub-proxy/", "https://h.example", "", "dockerhub-proxy"),
        ("https://art.example/artifactory/api/docker/hub/v2", "https://art.example", "/artifactory/api/docker/hub", ""),
        ("https://a.example/Upper/v2/x/y", "https://a.example", "/Upper", "x/y"),
        ("https://a.example/v2", "https://a.example", "", ""),
    ]

    @Test("v2 in an endpoint's path divides what precedes /v2/ and the repository", arguments: addresses)
    func paths(_ text: String, _ origin: String, _ prefix: String, _ repository: String) throws {
        let address = try EndpointAddress(parsing: text)
        #expect(address.origin == origin)
        #expect(address.pathPrefix == prefix && address.repositoryPrefix == repository)
    }

    @Test(
        "an endpoint that is no address is refused",
        arguments: [
            "ftp://a.example", "a.example", "https://", "https://a.example//x", "https://a.example/../x",
            "https://a.example/x?y=z", "https://a.example/x#y", "https://a.example/%2e", "https://a.example/Upper",
            "https://u@a.example", "https://a.example/v2/Upper", "https://a b", "https://a.example/\u{e4}",
        ])
    func refusedAddresses(_ text: String) {
        #expect(throws: Refusal.self) { try EndpointAddress(parsing: text) }
    }

    @Test("a list of endpoints keeps its order, and its items may have credentials of their own") func list() throws {
        let yaml = """
            registries:
            - name: docker.io
              endpoints:
              - https://mirror.example/hub
              - url: https://other.example
                auth: {user: u, password: p}
                final404: true
                tls: {insecureSkipVerify: true}
              - https://registry-1.docker.io
              auth: {user: hub, password: q}
            """
        let registry = try #require(try decode(yaml).registries.first)
        #expect(registry.isList && registry.endpoints.count == 3)
        #expect(registry.endpoints[0].address.description == "https://mirror.example/v2/hub")
        #expect(registry.endpoints[0].auth == nil && registry.endpoints[0].tls == nil)
        #expect(registry.endpoints[1].auth == RegistryAuth(user: "u", password: Secret("p")))
        #expect(registry.endpoints.map(\.is404Final) == [false, true, false])
        #expect(registry.endpoints[1].tls?.insecureSkipVerify == true)
    }

    @Test(
        "a list of endpoints that contradicts itself is refused",
        arguments: [
            (
                "endpoints: [https://a.b], endpoint: https://c.d",
                "endpoint: endpoints is set too; only one of them can be"
            ),
            (
                "endpoints: [https://a.b], scheme: http",
                "scheme: is not used beside endpoints, whose URLs begin with a scheme each"
            ),
            ("endpoints: [https://a.b, https://a.b/]", "endpoints[1]: is listed twice"),
            ("endpoints: [{final404: true}]", "endpoints[0]: needs a url"),
            ("endpoints: [{url: https://a.b, user: u}]", "endpoints[0].user: unknown key"),
            ("endpoints: https://a.b", "endpoints: must be a list"),
            (
                "endpoints: [https://a.b], auth: {user: u, password: p}",
                "auth: is sent to the registry's own host, which endpoints does not list; give the items an auth each"
            ),
        ])
    func refusedLists(_ keys: String, _ reason: String) {
        #expect(complaint("registries: [{name: x.y, \(keys)}]").hasPrefix("c.yaml:1: registries[0].\(reason)"))
    }

    // MARK: Kinds of credentials

    private static let ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"

    @Test("a token is fixed, or provided by ECR with profile, region and expiry") func tokens() throws {
        let fixed = try decode("registries: [{name: x.y, auth: {token: {static: abc, expiry: 6h}}}]")
        #expect(fixed.registries.first?.auth == RegistryAuth(.token(Secret("abc"))))
        let options = "providerOpts: 'profile=build, region=us-east-1', expiry: 2h"
        let provided = try decode("registries: [{name: \(Self.ecr), auth: {token: {provider: ecr, \(options)}}}]")
        var settings = ECRSettings()
        (settings.options.profile, settings.options.region) = ("build", "us-east-1")
        settings.expiryMilliseconds = 7_200_000
        #expect(provided.registries.first?.auth == RegistryAuth(.ecr(settings)))
    }

    @Test(
        "wrong settings of ECR are refused with the key at fault",
        arguments: [
            (
                "{provider: ecr, providerOpts: 'zone=a'}",
                "token.providerOpts: has an unknown option: known are profile and region"
            ),
            (
                "{provider: ecr, providerOpts: 'region=A B'}",
                "token.providerOpts: region is not the name of an AWS region"
            ),
            ("{provider: ecr, expiry: 13h}", "token.expiry: must be from 1m to 12h, not \"13h\""),
            ("{provider: ecr, expiry: 99999999999999999999h}", "token.expiry: must be"),
        ])
    func refusedSettings(_ token: String, _ reason: String) {
        let printed = complaint("registries: [{name: \(Self.ecr), auth: {token: \(token)}}]")
        #expect(printed.hasPrefix("c.yaml:1: registries[0].auth.\(reason)"))
    }

    @Test("ECR's tokens need a host of ECR, or an endpoint") func elsewhere() {
        #expect(
            complaint("registries: [{name: x.y, auth: {token: {provider: ecr}}}]")
                == "c.yaml:1: registries[0].auth: provider ecr is for hosts of ECR, or needs an endpoint")
        #expect(complaint("registries: [{name: x.y, endpoint: http://a.b, auth: {token: {provider: ecr}}}]").isEmpty)
    }
}
