// The rules on names at the endpoints: a denied name is refused however it is written and whatever is asked of it, with
// nothing asked upstream.

import Dispatch
import Logging
import TestSupport
import Testing

@testable import BuiltinImage
@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct NameGateTests {
    private static let image = FakeImage(seed: 71)
    private static let host = MirrorKit.host.text

    private static func policy(_ yaml: String) throws -> NamePolicy {
        try ConfigDecoder.decode(yaml: Array(yaml.utf8), file: "c.yaml") { _ in nil }.namePolicy
    }

    private static func mirror(
        _ yaml: String, _ change: (inout MirrorKit.Options) -> Void = { _ in }
    ) throws -> MirrorKit {
        let policy = try policy(yaml)
        let mirror = try MirrorKit {
            $0.policy.names = policy
            change(&$0)
        }
        for repository in ["team/app", "evil/x"] { image.put(on: mirror.fake, repository: repository, tag: "v1") }
        mirror.fake.on("/v2/team/app/tags/list", .json(#"{"name":"team/app","tags":["v1"]}"#))
        return mirror
    }

    private static let ends = [
        "manifests/v1", "manifests/\(image.digest)", "blobs/\(digestOf(image.layers[0]))", "tags/list",
        "referrers/\(image.digest)",
    ]

    @Test(
        "a denied name gets 403 with the rule, however the request names it, and nothing is asked upstream",
        arguments: [
            "/v2/HOST/evil/x/", "/v2/evil/x/ ?ns=HOST", "/v2/HOST/evil/x/ ?ns=HOST", "/HOST/v2/evil/x/", "/v2/evil/x/",
            "/v2/HOST/%65vil/x/", "/v2/evil/x/ ?a=b&n%73=HOST", "/v2/evil/x/ ?ns=REGISTRY.TEST", "X /v2/evil/x/",
        ])
    func denied(_ form: String) throws {
        let mirror = try Self.mirror("deny: [evil/]")
        let isHeader = form.hasPrefix("X ")
        let plain = (isHeader ? String(form.dropFirst(2)) : form).replacing("HOST", with: Self.host)
        let parts = plain.split(separator: " ")
        let headers = isHeader ? [("X-Registry", Self.host)] : []
        for end in Self.ends {
            let target = "\(parts[0])\(end)\(parts.count > 1 ? parts[1] : "")"
            for _ in 0..<2 {
                let answer = mirror.get(target, headers)
                #expect(answer.status == 403, "\(target)")
                #expect(
                    answer.text.contains(
                        #""code":"DENIED","message":"registry.test/evil/x may not be pulled here: deny[0] 'evil/'""#),
                    "\(target): \(answer.text)")
                let head = mirror.head(target, headers)
                #expect(head.status == 403 && head.body.isEmpty, "\(target)")
            }
        }
        #expect(mirror.fake.requests.isEmpty)
        mirror.close()
    }

    @Test("an allowed name is served as without rules, and counted once, while its decision is made")
    func allowed() throws {
        let mirror = try Self.mirror(
            "allow: ['registry\\.test/team/.*']\nregistriesOnly: true\nregistries: [{name: '*'}]")
        let layer = Self.image.layers[1]
        let blob = "/v2/team/app/blobs/\(digestOf(layer))"
        // Each is the first request of a policy, so that it has to wait for the decision.
        func again() throws { mirror.api.names.replace(with: try Self.policy("allow: ['registry\\.test/team/.*']")) }
        #expect(mirror.get("/v2/team/app/manifests/v1?ns=\(Self.host)").body == Self.image.manifest)
        #expect(mirror.metrics.requests.manifestPulls == 1 && mirror.metrics.requests.endpointHits == 1)
        try again()
        let part = mirror.get(blob, range: "bytes=10-19")
        #expect(part.status == 206 && part.body == Array(layer[10..<20]))
        try again()
        #expect(mirror.head("/v2/registry.test/team/app/manifests/v1").contentLength == Self.image.manifest.count)
        try again()
        #expect(mirror.get("/v2/team/app/tags/list").text == #"{"name":"team/app","tags":["v1"]}"#)
        try again()
        let ns = mirror.get("/v2/team/%61pp/manifests/\(Self.image.digest)?ns=\(Self.host)")
        #expect(ns.body == Self.image.manifest && ns.header("oci-namespace") == Self.host)
        #expect(mirror.metrics.requests.manifestPulls == 3 && mirror.metrics.requests.endpointHits == 4)
        #expect(mirror.metrics.requests.inFlight == 0 && mirror.metrics.requests.apiErrors == 0)
        try again()
        #expect(mirror.get("/v2/evil/x/manifests/v1").status == 403)
        #expect(mirror.fake.requests.allSatisfy { $0.path.hasPrefix("/v2/team/app/") })
        mirror.close()
    }

    @Test("pipelined requests behind one whose name is being decided are answered in order") func pipelined() throws {
        let mirror = try Self.mirror("deny: [evil/]")
        let client = mirror.start(
            .get("/v2/evil/x/manifests/v1"), .get("/v2/team/app/manifests/v1"), .get("/v2/evil/x/manifests/v1"))
        mirror.wait(for: [client])
        #expect(client.responses.map(\.status) == [403, 200, 403])
        mirror.close()
    }

    @Test("a new policy is in force for cached content and for answers kept in memory")
    func replaced() throws {
        let mirror = try Self.mirror("")
        let small = "/v2/team/app/blobs/\(digestOf(Self.image.layers[0]))"
        let targets = ["/v2/team/app/manifests/v1", "/v2/team/app/manifests/\(Self.image.digest)", small]
        for _ in 0..<3 { for target in targets { #expect(mirror.get(target).status == 200) } }
        mirror.settle()
        let asked = mirror.fake.requests.count
        mirror.api.replaceNamePolicy(try Self.policy("deny: [team/]"))
        for _ in 0..<2 { for target in targets { #expect(mirror.get(target).status == 403) } }
        mirror.api.replaceNamePolicy(try Self.policy("deny: [evil/]"))
        for _ in 0..<3 { for target in targets { #expect(mirror.get(target).status == 200) } }
        mirror.api.replaceNamePolicy(NamePolicy())
        for target in targets { #expect(mirror.get(target).status == 200) }
        #expect(mirror.fake.requests.count == asked)
        mirror.close()
    }

    @Test("the built-in image is denied by its name") func builtin() throws {
        let mirror = try Self.mirror("deny: ['^docker\\.io/library/hello']") { $0.hasBuiltin = true }
        let digest = HelloWorldImage().indexDigest
        for target in [
            "/v2/docker.io/library/hello-world/manifests/latest", "/v2/hello-world/manifests/latest?ns=docker.io",
            "/v2/docker.io/hello-world/manifests/\(digest)", "/v2/docker.io/hello-world/tags/list",
        ] { #expect(mirror.get(target).status == 403, "\(target)") }
        #expect(mirror.get("/v2/_catalog?ns=docker.io").text == #"{"repositories":[]}"# + "\n")
        mirror.close()
        let open = try Self.mirror("deny: [evil]") { $0.hasBuiltin = true }
        #expect(open.get("/v2/docker.io/library/hello-world/manifests/latest").status == 200)
        #expect(open.get("/v2/_catalog?ns=docker.io").text == #"{"repositories":["library/hello-world"]}"# + "\n")
        open.close()
    }

    @Test("the catalog leaves out denied repositories, and follows a new policy") func catalog() throws {
        let mirror = try Self.mirror("deny: [evil/]")
        mirror.store.putManifest(Self.image.manifest, digest: Self.image.digest, mediaType: .ociManifest)
        for name in ["team/app", "evil/x", "team/b"] {
            mirror.store.setTag(
                host: MirrorKit.host, repository: try #require(RepositoryName(name)), tag: "v1",
                digest: Self.image.digest)
        }
        mirror.wait(until: { mirror.store.unsavedTags.isEmpty })
        func list() -> String { mirror.get("/v2/_catalog?ns=\(Self.host)").text }
        #expect(list() == #"{"repositories":["team/app","team/b"]}"# + "\n")
        mirror.api.replaceNamePolicy(try Self.policy("allow: ['.*/evil/.*']"))
        #expect(list() == #"{"repositories":["evil/x"]}"# + "\n")
        mirror.close()
    }

    @Test("refusals are counted by rule, and logged once a minute for each name") func counts() throws {
        let mirror = try Self.mirror("deny: [evil/]\nallow: ['.*/team/.*', '.*/evil/.*']")
        for _ in 0..<3 { #expect(mirror.get("/v2/evil/x/manifests/v1").status == 403) }
        #expect(mirror.head("/v2/other/x/blobs/\(Self.image.digest)").status == 403)
        mirror.api.replaceNamePolicy(try Self.policy("registriesOnly: true\nregistries: [{name: a.b}]"))
        #expect(mirror.get("/v2/team/app/tags/list").status == 403)
        let scrape = try mirror.scrape()
        for (rule, count) in [("deny", 3.0), ("allow", 1), ("registriesOnly", 1)] {
            #expect(scrape["ociregistry_denied_requests_total{rule=\"\(rule)\"}"] == count)
        }
        let lines = mirror.log.entries.filter { $0.message == "request denied" }
        #expect(
            lines.map { $0["name"] } == ["registry.test/evil/x", "registry.test/other/x", "registry.test/team/app"])
        #expect(lines.allSatisfy { $0.level == .warning })
        #expect(lines.first?["rule"] == "deny[0] 'evil/'")
        mirror.close()
    }

    // MARK: Waiting

    /// Occupies every thread of the pool, so that no decision is made until `open`.
    private final class Closed {
        private let gate = DispatchSemaphore(value: 0)
        private let threads = Offload.threads

        init(_ mirror: MirrorKit) {
            for _ in 0..<threads { mirror.offload.run({ [gate] in gate.wait() }, then: { _ in }) }
        }

        func open() { for _ in 0..<threads { gate.signal() } }
    }

    @Test("many requests for one name share one decision") func shared() throws {
        let mirror = try Self.mirror("deny: [evil/]")
        mirror.settle()
        let closed = Closed(mirror)
        let jobs = mirror.offload.inFlight
        let clients = (0..<30).map { _ in mirror.start(.get("/v2/evil/x/manifests/v1")) }
        mirror.wait(until: { mirror.api.names.waitingCount == 30 })
        #expect(mirror.offload.inFlight == jobs + 1)
        closed.open()
        mirror.wait(for: clients)
        #expect(clients.allSatisfy { $0.response.status == 403 })
        #expect(mirror.api.names.waitingCount == 0 && mirror.api.names.count == 1)
        mirror.close()
    }

    @Test("a decision under way for a former policy is not used for the new one") func underWay() throws {
        let mirror = try Self.mirror("deny: [evil/]")
        let closed = Closed(mirror)
        let clients = ["evil/x", "team/app"].map { mirror.start(.get("/v2/\($0)/manifests/v1")) }
        mirror.wait(until: { mirror.api.names.waitingCount == 2 })
        mirror.api.replaceNamePolicy(try Self.policy("deny: [team/]"))
        closed.open()
        mirror.wait(for: clients)
        #expect(clients.map(\.response.status) == [200, 403])
        #expect(mirror.fake.requests.allSatisfy { $0.path.hasPrefix("/v2/evil/x/") })
        mirror.close()
    }

    @Test("requests beyond the limit of waiting ones get 503") func limit() throws {
        let mirror = try Self.mirror("deny: [evil/]")
        let names = mirror.api.names
        let name = try #require(RepositoryName("team/other"))
        let closed = Closed(mirror)
        var decided = 0
        for _ in 0..<DecisionLimits.maximumWaiting {
            #expect(names.decide(MirrorKit.host, name) { _ in decided += 1 })
        }
        #expect(!names.decide(MirrorKit.host, name) { _ in decided += 1 })
        let answer = mirror.get("/v2/evil/x/manifests/v1")
        #expect(answer.status == 503 && answer.text.contains("too many requests wait for a decision"))
        closed.open()
        mirror.wait(until: { decided == DecisionLimits.maximumWaiting })
        #expect(mirror.get("/v2/evil/x/manifests/v1").status == 403)
        mirror.close()
    }

    @Test("the memory of waiting requests is bounded") func memory() throws {
        let mirror = try Self.mirror("deny: [evil/]")
        let names = mirror.api.names
        let name = try #require(RepositoryName("team/other"))
        let closed = Closed(mirror)
        var decided = 0
        #expect(
            names.decide(MirrorKit.host, name, for: DecisionRequest(bytes: DecisionLimits.maximumWaitingBytes)) { _ in
                decided += 1
            })
        #expect(!names.decide(MirrorKit.host, name, for: DecisionRequest(bytes: 1)) { _ in decided += 1 })
        #expect(!names.decide(MirrorKit.host, name, for: DecisionRequest(bytes: .max)) { _ in decided += 1 })
        closed.open()
        mirror.wait(until: { decided == 1 })
        #expect(names.decide(MirrorKit.host, name, for: DecisionRequest(bytes: 1)) { _ in decided += 1 })
        mirror.wait(until: { decided == 2 })
        mirror.close()
    }

    @Test("a request whose decision takes too long gets 503, and no second answer") func late() throws {
        let mirror = try Self.mirror("deny: [evil/]") { $0.policy.answerDeadlineMilliseconds = 20 }
        let closed = Closed(mirror)
        let client = mirror.start(.get("/v2/team/app/manifests/v1"), .get("/v2/"))
        mirror.wait(for: [client])
        #expect(client.responses.map(\.status) == [503, 200])
        #expect(client.responses.first?.text.contains("have not been applied in time") == true)
        closed.open()
        mirror.wait(until: { mirror.api.names.waitingCount == 0 })
        #expect(mirror.fake.requests.isEmpty)
        mirror.close()
    }

    // MARK: The table

    @Test("the table of decisions is bounded, and keeps the names that are used") func bounded() throws {
        final class Box { var table = DecisionTable<NameDecision>(usual: .allowed) }
        let box = Box()
        func insert(_ number: Int) {
            let decision = number % 2 == 0 ? NameDecision.allowed : .denied(by: .deny, rule: "deny[0] 'odd'")
            Array("registry.test/team/app\(number)".utf8).withUnsafeBytes { box.table.insert($0, decision) }
        }
        func found(_ number: Int) -> String {
            switch Array("registry.test/team/app\(number)".utf8).withUnsafeBytes({ box.table.find($0) }) {
            case .usual: return "allowed"
            case .other(let position): return "\(box.table.decision(at: position))"
            case .undecided: return "undecided"
            }
        }
        let limit = DecisionTable<NameDecision>.maximumNames
        for number in 0..<limit { insert(number) }
        #expect(box.table.count == limit)
        #expect(found(0) == "allowed" && found(1).contains("odd"))
        for number in limit..<2 * limit {
            insert(number)
            // In use all the time.
            if number % 16 == 0 { #expect(found(6) == "allowed" && found(7).contains("odd")) }
        }
        #expect(box.table.count == limit)
        #expect(found(2 * limit - 1).contains("odd"))
        #expect((0..<limit).count { found($0) == "undecided" } > limit / 2)
        insert(7)
        #expect(box.table.count == limit && found(7).contains("odd"))
    }
}
