// What `explain` says of an image: each rule of the configuration, and no secret.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ImageExplanationTests {
    /// The explanation's lines by their keys.
    private static func explain(
        _ name: String, _ yaml: String = "", docker: String? = nil, environment: [String: String] = [:]
    ) throws -> [String: String] {
        let explanation = try explanation(name, yaml, docker: docker, environment: environment)
        return Dictionary(uniqueKeysWithValues: explanation.lines.map { ($0.key, $0.value) })
    }

    private static func explanation(
        _ name: String, _ yaml: String, docker: String? = nil, environment: [String: String] = [:],
        client: ExplainedClient = ExplainedClient()
    ) throws -> ImageExplanation {
        var config = try ConfigDecoder.decode(yaml: Array(yaml.utf8), file: "c.yaml") { environment[$0] }
        config.environment = try UpstreamEnvironment { environment[$0] }
        if docker != nil { config.dockerConfig = "docker.json" }
        let content = docker.map { text in
            Result { () throws(CredentialFailure) in try DockerConfig(Array(text.utf8)) }
        }
        let image = try WrittenImageName(name, defaultHost: config.defaultNamespace ?? .dockerHub)
        return ImageExplanation(image, for: client, config: config, docker: content)
    }

    private static let digest = "sha256:" + String(repeating: "0", count: 64)

    // MARK: The name

    @Test(
        "the canonical name has what rules add, and says which",
        arguments: [
            (
                "alpine", "defaultNs: docker.io", "docker.io/library/alpine:latest", "docker.io (from defaultNs)",
                "latest (added: the name has no tag and no digest)"
            ),
            ("a/b:1", "defaultNs: quay.io", "quay.io/a/b:1", "quay.io (from defaultNs)", "1"),
            (
                "alpine:3.20", "", "docker.io/library/alpine:3.20",
                "docker.io (as docker reads a name without a registry; defaultNs is not set, so requests must name it)",
                "3.20"
            ),
            (
                "index.docker.io/a/b:1", "", "docker.io/a/b:1", "docker.io (written index.docker.io)", "1"
            ),
            ("Quay.io/a/b:1", "", "quay.io/a/b:1", "quay.io", "1"),
            (
                "quay.io/a/b:1@\(digest)", "", "quay.io/a/b@\(digest)", "quay.io",
                "\(digest) (the tag 1 is not used)"
            ),
            (
                "registry.example:5000/x@\(digest)", "", "registry.example:5000/x@\(digest)", "registry.example:5000",
                digest
            ),
        ])
    func name(_ name: String, _ yaml: String, _ image: String, _ registry: String, _ reference: String) throws {
        let lines = try Self.explain(name, yaml)
        #expect(lines["image"] == image)
        #expect(lines["registry"] == registry)
        #expect(lines["reference"] == reference)
    }

    @Test("library/ is added to Docker Hub's names of one part only") func library() throws {
        #expect(
            try Self.explain("alpine")["repository"] == "library/alpine (library/ added, as Docker Hub's names have it)"
        )
        #expect(try Self.explain("library/alpine")["repository"] == "library/alpine")
        #expect(try Self.explain("quay.io/alpine")["repository"] == "alpine")
    }

    @Test("the client is shown, and that no rule is about it") func client() throws {
        let client = ExplainedClient(address: NetworkAddress(literal: "::ffff:10.0.0.1"), user: "someone")
        let text = try Self.explanation("a", "", client: client).text
        #expect(text.contains("\nfrom: ::ffff:10.0.0.1\nuser: someone\naccess: open: no rule by address or user"))
        #expect(try Self.explain("a")["from"] == nil)
    }

    // MARK: The entry

    private static let entries = """
        registries:
        - name: "*"
          proxy: direct
        - name: quay.io
        - name: "*.corp.example"
        - name: "*.a.corp.example"
        """

    @Test(
        "the entry is the one that the server uses",
        arguments: [
            ("quay.io/a", "registries[1], exact name quay.io"), ("ghcr.io/a", "registries[0], pattern *"),
            ("b.corp.example/a", "registries[2], pattern *.corp.example"),
            ("b.a.corp.example/a", "registries[3], pattern *.a.corp.example"),
        ])
    func entry(_ name: String, _ entry: String) throws {
        #expect(try Self.explain(name, Self.entries)["entry"] == entry)
    }

    @Test("without an entry the registry is reached over https") func noEntry() throws {
        let lines = try Self.explain("quay.io/a:1")
        #expect(lines["entry"] == "none: reached anonymously over https")
        #expect(lines["endpoints"] == "1")
        #expect(lines["endpoint[0].request"] == "GET https://quay.io/v2/a/manifests/1")
        #expect(lines["endpoint[0].credentials"] == "none" && lines["endpoint[0].credentials-sent-to"] == nil)
        #expect(lines["endpoint[0].proxy"] == "none")
        let docker = #"{"auths":{"quay.io":{"username":"me","password":"pw"}}}"#
        #expect(try Self.explain("quay.io/a", docker: docker)["entry"] == "none: reached over https")
    }

    @Test(
        "an address of this machine without an entry is not asked",
        arguments: ["localhost:5000", "127.0.0.1", "169.254.169.254", "[::1]:5000"])
    func local(_ host: String) throws {
        let request = try #require(try Self.explain("\(host)/a")["endpoint[0].request"])
        #expect(request.hasPrefix("none: ") && request.hasSuffix(", which needs an entry in registries"))
        let named = try Self.explain("\(host)/a:1", "registries: [{name: '\(host)', scheme: http}]")
        #expect(named["endpoint[0].request"] == "GET http://\(host)/v2/a/manifests/1")
        #expect(named["endpoint[0].tls"] == "none: plain HTTP")
    }

    @Test("with privateUpstreams: deny, an address of a private network is asked only where an entry names it")
    func privateAddresses() throws {
        let deny = "privateUpstreams: deny"
        let other = try Self.explain("10.0.0.1/a", deny)
        #expect(
            other["endpoint[0].request"]
                == "none: 10.0.0.1 is a private address (privateUpstreams: deny), which needs an entry in registries")
        #expect(other["endpoint[0].private-addresses"] == "at no host (privateUpstreams: deny)")
        let named = try Self.explain("a.corp/a:1", "\(deny)\nregistries: [{name: a.corp, endpoint: 'http://10.0.0.1'}]")
        #expect(named["endpoint[0].request"]?.hasPrefix("GET http://10.0.0.1/v2/a/manifests/1") == true)
        #expect(named["endpoint[0].private-addresses"] == "only at 10.0.0.1 (privateUpstreams: deny)")
        #expect(try Self.explain("10.0.0.1/a")["endpoint[0].private-addresses"] == nil)
    }

    @Test("airGapped and helloWorld ask nobody") func silence() throws {
        let gapped = try Self.explain("quay.io/a", "airGapped: true")
        #expect(gapped["upstream"] == "none is asked (airGapped): what is not cached gets 404")
        #expect(!gapped.keys.contains { $0.hasPrefix("endpoint") })
        let builtIn = "none is asked (helloWorld): the image is in the program"
        #expect(try Self.explain("hello-world", "helloWorld: true")["upstream"] == builtIn)
        #expect(try Self.explain("hello-world:1", "helloWorld: true")["upstream"] == nil)
        #expect(try Self.explain("quay.io/hello-world", "helloWorld: true")["upstream"] == nil)
        #expect(try Self.explain("hello-world")["upstream"] == nil)
    }

    @Test("the decision of the rules on names is shown with its rule, and a denied name has no endpoints")
    func names() throws {
        let open = "allowed: no allow, deny or registriesOnly is configured"
        #expect(try Self.explain("quay.io/a")["pull"] == open)
        #expect(
            try Self.explain("quay.io/a", "tagTTL: 1h")["tag"]
                == "ttl 1h, staleWhileRevalidate 0s, staleIfError forever, cooldown 0s, onUpstreamDelete keep (tagTTL)")
        #expect(try Self.explain("quay.io/a@sha256:\(String(repeating: "0", count: 64))")["tag"] == nil)
        #expect(try Self.explain("quay.io/a", "allow: ['quay\\.io/.*']")["pull"] == "allowed: allow[0] 'quay\\.io/.*'")
        let denied = try Self.explain("hello-world", "deny: [library/hello]\nhelloWorld: true")
        #expect(denied["pull"] == "denied: deny[0] 'library/hello'")
        #expect(denied["upstream"] == "none is asked: requests get 403")
        #expect(!denied.keys.contains { $0.hasPrefix("endpoint") })
    }

    // MARK: Endpoints

    private static let endpoints = """
        registries:
        - name: docker.io
          auth: {user: own, password: p}
          tls: {insecureSkipVerify: true}
          endpoints:
          - url: https://mirror.example/artifactory/api/docker/hub/v2/proxy
            final404: true
            auth: {token: {static: abc}}
            tls: {}
          - http://plain.example:5000
          - https://docker.io
        """

    @Test("endpoints are in order, with their requests, 404s and credentials") func endpoints() throws {
        let lines = try Self.explain("alpine", Self.endpoints)
        #expect(lines["endpoints"] == "3")
        #expect(
            lines["endpoint[0].request"]
                == "GET https://mirror.example/artifactory/api/docker/hub/v2/proxy/library/alpine/manifests/latest")
        #expect(
            lines["endpoint[1].request"]
                == "GET http://plain.example:5000/v2/library/alpine/manifests/latest?ns=docker.io")
        #expect(
            lines["endpoint[2].request"] == "GET https://registry-1.docker.io/v2/library/alpine/manifests/latest")
        #expect(
            (0..<3).map { lines["endpoint[\($0)].404"] }
                == ["final (final404)", "the next endpoint is asked", "final (no endpoint is left)"])
        #expect(
            (0..<3).map { lines["endpoint[\($0)].credentials"] } == [
                "a fixed token (registries[0].endpoints[0].auth)", "none",
                "user own from auth.password (registries[0].auth)",
            ])
        #expect(
            (0..<3).map { lines["endpoint[\($0)].credentials-sent-to"] } == [
                "https://mirror.example:443 only", nil,
                "https://registry-1.docker.io:443, and token services over https at: registry-1.docker.io, docker.io, "
                    + "auth.docker.io",
            ])
        #expect(lines["endpoint[0].verification"] == "on")
        #expect(lines["endpoint[2].verification"] == "off (registries[0].tls.insecureSkipVerify)")
    }

    @Test("a single endpoint has the entry's credentials, and ns unless it is turned off") func endpoint() throws {
        let yaml = "registries: [{name: quay.io, endpoint: 'https://m.example:444', auth: {user: u, password: p}"
        let lines = try Self.explain("quay.io/a:1", yaml + "}]")
        #expect(lines["endpoint[0].request"] == "GET https://m.example:444/v2/a/manifests/1?ns=quay.io")
        #expect(
            lines["endpoint[0].credentials-sent-to"]
                == "https://m.example:444, and token services over https at: m.example, quay.io")
        let without = try Self.explain("quay.io/a:1", yaml + ", sendNamespace: false}]")
        #expect(without["endpoint[0].request"] == "GET https://m.example:444/v2/a/manifests/1")
    }

    // MARK: Credentials

    @Test(
        "the source of credentials is named",
        arguments: [
            ("auth: {user: u, passwordFromEnv: PW}", "user u from passwordFromEnv PW (registries[0].auth)"),
            ("auth: {user: u, password: s3cret}", "user u from auth.password (registries[0].auth)"),
            ("auth: {token: {static: s3cret}}", "a fixed token (registries[0].auth)"), ("scheme: https", "none"),
        ])
    func credentials(_ auth: String, _ text: String) throws {
        let lines = try Self.explain(
            "r.test/a", "registries: [{name: r.test, \(auth)}]", environment: ["PW": "s3cret"])
        #expect(lines["endpoint[0].credentials"] == text)
    }

    @Test("a password file is named by its path") func passwordFile() throws {
        let files = try TemporaryDirectory()
        let path = try files.write("s3cret", to: "pw")
        let yaml = "registries: [{name: r.test, auth: {user: u, passwordFile: \(path), tokenRealm: 'auth.test:8443'}}]"
        let lines = try Self.explain("r.test/a", yaml)
        #expect(lines["endpoint[0].credentials"] == "user u from passwordFile \(path) (registries[0].auth)")
        #expect(
            lines["endpoint[0].credentials-sent-to"]
                == "https://r.test:443, and token services over https at: r.test, auth.test:8443")
    }

    @Test("ECR's credentials are named by profile and region") func ecr() throws {
        let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
        let yaml = "registries: [{name: '*.amazonaws.com', auth: {token: {provider: ecr"
        #expect(
            try Self.explain("\(host)/a", yaml + "}}}]")["endpoint[0].credentials"]
                == "ECR, the default AWS credentials, region eu-central-1 (registries[0].auth)")
        #expect(
            try Self.explain("\(host)/a", yaml + ", providerOpts: 'profile=p,region=us-east-1'}}}]")[
                "endpoint[0].credentials"] == "ECR, profile p, region us-east-1 (registries[0].auth)")
        #expect(try Self.explain("s3.amazonaws.com/a", yaml + "}}}]")["endpoint[0].credentials"] == "none")
    }

    private static let docker = """
        {"auths": {"a.test": {"username": "me", "password": "s3cret"}, "b.test": {"identitytoken": "s3cret"},
        "c.test": {"registrytoken": "s3cret"}, "d.test": {"auth": "s3cret"}}, "credHelpers": {"e.test": "gcloud"}}
        """

    @Test(
        "the entry of docker's file is named, and helpers are not run",
        arguments: [
            ("a.test", "entry a.test, user me"), ("b.test", "entry b.test, an identity token"),
            ("c.test", "entry c.test, a registry token"), ("d.test", "not usable: entry d.test: auth is not base64"),
            ("e.test", "helper docker-credential-gcloud would be asked for e.test"),
            ("f.test", "nothing there for f.test"),
        ])
    func dockerConfig(_ host: String, _ text: String) throws {
        let lines = try Self.explain("\(host)/a", docker: Self.docker)
        #expect(lines["endpoint[0].credentials"] == "dockerConfig docker.json: \(text)")
        let broken = try Self.explain("\(host)/a", docker: "{")["endpoint[0].credentials"]
        #expect(broken == "dockerConfig docker.json: not usable: not the JSON of a docker configuration")
    }

    @Test("docker's file is asked for the endpoint's host, and not where the entry has credentials")
    func dockerConfigOfEndpoint() throws {
        let yaml = "registries: [{name: r.test, endpoints: ['https://a.test', 'https://r.test'], auth: "
        let lines = try Self.explain("r.test/a", yaml + "{user: u, password: p}}]", docker: Self.docker)
        #expect(lines["endpoint[0].credentials"] == "dockerConfig docker.json: entry a.test, user me")
        #expect(lines["endpoint[1].credentials"] == "user u from auth.password (registries[0].auth)")
    }
}
