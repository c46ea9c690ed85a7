// Answers about tags that come late, from something in the registry's place, or under rules that have changed.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct LateTagAnswerTests {
    private static let old = FakeImage(seed: 1)
    private static let new = FakeImage(seed: 2)
    private static let target = "/v2/team/app/manifests/v1"

    private func mirror(_ yaml: String) throws -> MirrorKit {
        let policies = try TagPolicyKit.policies(yaml)
        let mirror = try MirrorKit { $0.policy.tags = policies }
        Self.old.put(on: mirror.fake, tag: "v1")
        #expect(mirror.get(Self.target).body == Self.old.manifest)
        mirror.settle()
        return mirror
    }

    @Test("the 404 of a web server in the registry's place removes no tag", arguments: ["text/html", "Text/Plain"])
    func textAnswer(_ type: String) throws {
        let mirror = try mirror("tagPolicies: [{match: v1, ttl: 0s, onUpstreamDelete: remove}]")
        let page = FakeAnswer(status: 404, headers: [("Content-Type", type)], body: Array("<p>not here</p>".utf8))
        mirror.fake.on(Self.target, page)
        let answer = mirror.get(Self.target)
        #expect(answer.body == Self.old.manifest && answer.header("warning") != nil)
        #expect(mirror.metrics.tags.checkCount(.failed(.badStatus)) == 1)
        mirror.store.tagClockLead += 60_000
        mirror.fake.on(Self.target, .status(404))
        #expect(mirror.get(Self.target).status == 404)
        mirror.close()
    }

    @Test("a late answer to an older check does not replace a newer one") func older() throws {
        let mirror = try mirror("tagTTL: never")
        let store = mirror.store
        let repository = try #require(RepositoryName("team/app"))
        let digest = { store.tag(host: MirrorKit.host, repository: repository, tag: "v1")?.digest }
        let set = { (digest: Digest, checked: Int64) in
            store.setTag(host: MirrorKit.host, repository: repository, tag: "v1", digest: digest, checked: checked)
        }
        let asked = store.tagClock
        store.tagClockLead += 5000
        set(Self.new.digest, store.tagClock)
        #expect(digest() == Self.new.digest)
        set(Self.old.digest, asked)
        store.removeTag(
            host: MirrorKit.host, repository: repository, tag: "v1", digest: Self.new.digest, checked: asked)
        #expect(digest() == Self.new.digest)
        store.removeTag(
            host: MirrorKit.host, repository: repository, tag: "v1", digest: Self.new.digest, checked: store.tagClock)
        #expect(digest() == nil)
        mirror.close()
    }

    @Test("new settings of upstreams end the pauses after 429s and failed checks") func reload() throws {
        let mirror = try mirror("tagTTL: 0s")
        mirror.fake.on(Self.target, .limited.adding("Retry-After", "600"))
        #expect(mirror.get(Self.target).header("warning") != nil)
        Self.new.put(on: mirror.fake, tag: "v1")
        let before = mirror.fake.requests.count
        #expect(mirror.get(Self.target).body == Self.old.manifest)
        #expect(mirror.fake.requests.count == before)
        mirror.client.reload(
            registries: [mirror.fake.config()], settings: UpstreamSettings(Config()), noProgressMilliseconds: 20_000,
            credentials: CredentialSettings(offload: mirror.offload) { _ in nil })
        mirror.puller.upstreamsChanged()
        mirror.api.tags.forgetFailures()
        #expect(mirror.get(Self.target).body == Self.new.manifest)
        mirror.close()
    }
}
