// Lists of tags and referrers when their upstream cannot be asked.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct OfflineListTests {
    private typealias Signed = SignedImage

    /// A fault of the upstream, the status without a cached list, and the reason in the metric with one.
    static let troubles: [(name: String, answer: FakeAnswer, status: Int, reason: OfflineReason)] = [
        ("500", .status(500), 503, .failed), ("503", .status(503), 503, .failed),
        ("401", .status(401), 403, .denied), ("403", .status(403), 403, .denied),
        ("429", .limited, 429, .rateLimited), ("hung up", .hangUp, 503, .unreachable),
        ("garbage", .json("[1]"), 502, .failed), ("teapot", .status(418), 502, .failed),
        ("website", .redirect(to: "ftp://x"), 403, .denied),
    ]

    @Test("a list that was obtained is served when the upstream cannot be asked", arguments: troubles.indices)
    func offline(_ index: Int) throws {
        let trouble = Self.troubles[index]
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(ttl: .zero) }
        Signed.put(on: mirror.fake)
        for (target, kind) in [(Signed.tags, "tags"), (Signed.referrers, "referrers")] {
            let before = mirror.get(target)
            #expect(before.status == 200)
            mirror.fake.on(target, trouble.answer)
            // An upstream without the API is asked for the fallback tag.
            if kind == "referrers" { mirror.fake.on(Signed.fallback, trouble.answer) }
            let after = mirror.get(target)
            #expect(after.status == 200 && after.body == before.body, "\(trouble.name): \(after.text)")
            #expect(after.header("warning")?.hasPrefix("299 - \"") == true)
            let labels = "endpoint=\"\(kind)\",reason=\"\(trouble.reason.rawValue)\""
            let series = "ociregistry_lists_served_offline_total{\(labels)}"
            #expect(try mirror.scrape()[series] == 1, "\(trouble.name)")
        }
        mirror.close()
    }

    @Test("a list that was never obtained is an error when the upstream cannot be asked", arguments: troubles.indices)
    func never(_ index: Int) throws {
        let trouble = Self.troubles[index]
        // A request waits for the end of a pause after a 429 until its deadline.
        let mirror = try MirrorKit { $0.policy.answerDeadlineMilliseconds = 500 }
        for target in [Signed.tags, Signed.referrers, Signed.fallback] { mirror.fake.on(target, trouble.answer) }
        for target in [Signed.tags, Signed.referrers] {
            let answer = mirror.get(target)
            #expect(answer.status == trouble.status, "\(trouble.name): \(target)")
        }
        mirror.close()
    }

    @Test("an air-gapped server serves lists that were obtained, after a restart too, and 503 for others")
    func airGapped() throws {
        let directory = try TemporaryDirectory()
        var lists: [[UInt8]] = []
        do {
            let mirror = try MirrorKit { $0.imagePath = directory.path }
            Signed.put(on: mirror.fake)
            lists = [Signed.tags, Signed.referrers].map { mirror.get($0).body }
            mirror.settle()
            mirror.close()
        }
        let mirror = try MirrorKit {
            $0.imagePath = directory.path
            $0.policy.airGapped = true
        }
        for (target, body) in zip([Signed.tags, Signed.referrers], lists) {
            let answer = mirror.get(target)
            #expect(answer.status == 200 && answer.body == body)
            #expect(answer.header("warning")?.contains("air-gapped") == true)
        }
        #expect(mirror.get("/v2/team/other/tags/list").status == 503)
        #expect(mirror.get("/v2/team/app/referrers/\(digestOf([9]))").status == 503)
        #expect(mirror.get("/v2/team/other/referrers/\(Signed.image.digest)").status == 503, "of another repository")
        #expect(mirror.fake.connectionCount == 0)
        mirror.close()
    }

    @Test(
        "offline, referrers in the cache are added to the list, in their repositories only", arguments: [false, true])
    func cached(_ hasList: Bool) throws {
        let directory = try TemporaryDirectory()
        let (known, other) = (Signed.signature(3), Signed.signature(4, repository: "other"))
        do {
            let mirror = try MirrorKit { $0.imagePath = directory.path }
            Signed.put(on: mirror.fake)
            for (repository, bytes) in [("team/app", known), ("team/other", other)] {
                let path = "/v2/\(repository)/manifests/\(digestOf(bytes))"
                mirror.fake.on(path, .manifest(bytes, type: FakeImage.type, digest: "\(digestOf(bytes))"))
                #expect(mirror.get(path).status == 200)
            }
            if hasList { #expect(mirror.get(Signed.referrers).status == 200) }
            mirror.settle()
            mirror.close()
        }
        let mirror = try MirrorKit {
            $0.imagePath = directory.path
            $0.policy.airGapped = true
        }
        let answer = mirror.get(Signed.referrers)
        #expect(answer.status == 200)
        let list = try ReferrersIndex(answer.body)
        let digests = list.entries.map(\.digest)
        let listed = hasList ? [1, 2].map { "\(digestOf(Signed.signature($0)))" } : []
        #expect(digests == listed + ["\(digestOf(known))"])
        let entry = try #require(list.entries.last)
        #expect(entry.artifactType == Signed.type && entry.sizeBytes == Int64(known.count))
        #expect(String(decoding: entry.text, as: UTF8.self).contains("\"annotations\":{\"number\":\"3\""))
        #expect(mirror.get(Signed.referrers + "?artifactType=x/y").header("oci-filters-applied") == "artifactType")
        mirror.close()
    }

    @Test("offline, a cached fallback tag is a list that was obtained, even an empty one", arguments: [0, 2])
    func cachedFallback(_ count: Int) throws {
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(ttl: .zero) }
        mirror.fake.on(Signed.fallback, Signed.index((0..<count).map { Signed.entry($0) }))
        #expect(mirror.get(Signed.fallback).status == 200)
        mirror.settle()
        mirror.fake.on(Signed.referrers, .status(503))
        let answer = mirror.get(Signed.referrers)
        #expect(answer.status == 200)
        // In a list of images, it is the tag that it is, and no digest.
        var names: [String] = []
        mirror.wait(for: { done in
            mirror.store.images(making: { $0.map(\.name) }) { result in
                names = (try? result.get()) ?? []
                done()
            }
        })
        #expect(names == ["registry.test/team/app:sha256-\(Signed.image.digest.hex)"])
        #expect(try ReferrersIndex(answer.body).entries.count == count)
        mirror.close()
    }

    @Test("offline, the tag list has the tags that came into the cache since")
    func cachedTags() throws {
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(ttl: .zero) }
        Signed.put(on: mirror.fake)
        Signed.image.put(on: mirror.fake, tag: "v0")
        #expect(mirror.get(Signed.tags).status == 200)
        #expect(mirror.get("/v2/team/app/manifests/v0").status == 200)
        mirror.settle()
        mirror.fake.on(Signed.tags, .status(500))
        #expect(mirror.get(Signed.tags).text == #"{"name":"team/app","tags":["v1","v2","v0"]}"#)
        mirror.close()
    }
}
