// Lists of tags and referrers that the cache keeps: when they are served, and that none is ever falsely empty or short.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

/// A repository with an image and its signatures.
struct SignedImage {
    static let image = FakeImage(seed: 7)
    static let tags = "/v2/team/app/tags/list"
    static let referrers = "/v2/team/app/referrers/\(image.digest)"
    static let fallback = "/v2/team/app/manifests/sha256-\(image.digest.hex)"
    static let type = "application/vnd.test.signature"

    /// The manifest of a signature.
    static func signature(_ number: Int, of subject: FakeImage = image, repository: String = "") -> [UInt8] {
        let config = FakeImage.descriptor("application/vnd.oci.empty.v1+json", Array("{}".utf8))
        let about = FakeImage.descriptor(FakeImage.type, subject.manifest)
        return Array(
            """
            {"schemaVersion":2,"mediaType":"\(FakeImage.type)","artifactType":"\(type)","config":\(config),\
            "layers":[],"subject":\(about),"annotations":{"number":"\(number)","where":"\(repository)"}}
            """.utf8)
    }

    /// An entry with members that no decoder here knows.
    static func entry(_ number: Int, type: String? = type) -> String {
        let artifact = type.map { "\"artifactType\" : \"\($0)\"," } ?? ""
        let bytes = signature(number)
        return """
            { "mediaType":"\(FakeImage.type)", "digest":"\(digestOf(bytes))", "size":\(bytes.count),\(artifact)
              "platform":{"os":"linux"}, "annotations":{"a":null,"b":5}, "x-unknown":[1,{"}":"]"}], "n":1.50 }
            """
    }

    static func index(_ entries: [String]) -> FakeAnswer {
        let type = MediaType.ociIndex.text
        let list = entries.joined(separator: ",")
        let text = "{\"schemaVersion\":2,\"mediaType\":\"\(type)\",\"manifests\":[\(list)]}"
        return .ok(Array(text.utf8), type: type)
    }

    static func tagList(_ names: [String]) -> FakeAnswer {
        .json("{\"name\":\"team/app\",\"tags\":[\(names.map { "\"\($0)\"" }.joined(separator: ","))]}")
    }

    static func put(on fake: FakeUpstream) {
        image.put(on: fake, tag: "v1")
        fake.on(tags, tagList(["v1", "v2"]))
        fake.on(referrers, index([entry(1), entry(2)]))
        fake.on(fallback, .status(404))
    }
}

@Suite struct KeptListTests {
    private typealias Signed = SignedImage

    /// What becomes of the upstream.
    static let troubles: [(name: String, answer: FakeAnswer, status: Int, reason: OfflineReason)] = [
        ("500", .status(500), 503, .failed), ("503", .status(503), 503, .failed),
        ("401", .status(401), 403, .denied), ("403", .status(403), 403, .denied),
        ("429", .limited, 429, .rateLimited), ("hung up", .hangUp, 503, .unreachable),
        ("garbage", .json("[1]"), 502, .failed), ("teapot", .status(418), 502, .failed),
        ("website", .redirect(to: "ftp://x"), 403, .denied),
    ]

    @Test("a list is served from the cache within its lifetime, and asked for again after it")
    func lifetime() throws {
        let mirror = try MirrorKit()
        Signed.put(on: mirror.fake)
        for target in [Signed.tags, Signed.referrers] {
            let first = mirror.get(target)
            #expect(first.status == 200)
            let again = mirror.get(target)
            #expect(again.body == first.body && again.header("warning") == nil)
            #expect(mirror.fake.requests(to: target).count == 1)
        }
        let scrape = try mirror.scrape()
        for verdict in ["miss", "hit"] {
            let labels = "endpoint=\"referrers\",verdict=\"\(verdict)\""
            #expect(scrape["ociregistry_http_request_duration_seconds_count{\(labels)}"] == 1, "\(verdict)")
        }
        #expect(scrape["ociregistry_list_revalidations_total{endpoint=\"tags\",result=\"new\"}"] == 1)
        mirror.close()
        let now = EventLoop.unixSeconds
        for ttl in [TagSpan(milliseconds: 300_000), .forever] {
            let fresh = { ListFreshness.isFresh(checkedAtSeconds: $0, nowSeconds: now, ttl: ttl) }
            #expect(fresh(now) && fresh(now - 299))
            #expect(!fresh(now - 300) && !fresh(now + 1) && !fresh(0), "a clock that was set back says nothing")
        }
        #expect(!ListFreshness.isFresh(checkedAtSeconds: 1, nowSeconds: .max, ttl: TagSpan(milliseconds: .max - 1)))
    }

    @Test("a changed list is served once its lifetime has passed")
    func changed() throws {
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(ttl: .zero) }
        Signed.put(on: mirror.fake)
        #expect(mirror.get(Signed.tags).text == #"{"name":"team/app","tags":["v1","v2"]}"#)
        mirror.fake.on(Signed.tags, Signed.tagList(["v3"]))
        #expect(mirror.get(Signed.tags).text == #"{"name":"team/app","tags":["v3"]}"#)
        // Signatures can be withdrawn, when the upstream says so.
        #expect(mirror.get(Signed.referrers).text.contains("x-unknown"))
        mirror.fake.on(Signed.referrers, Signed.index([]))
        #expect(mirror.get(Signed.referrers).text.hasSuffix("\"manifests\":[]}"))
        #expect(
            try mirror.scrape()["ociregistry_list_revalidations_total{endpoint=\"tags\",result=\"changed\"}"] == 1)
        mirror.close()
    }

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
            let reason = trouble.reason == .unreachable ? "unreachable" : trouble.reason.rawValue
            let series = "ociregistry_lists_served_offline_total{endpoint=\"\(kind)\",reason=\"\(reason)\"}"
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
            #expect(answer.status >= 400, "\(trouble.name): \(target)")
            // What is no index may be a website, and the fallback tag is asked for: 502 either way.
            #expect(answer.status == trouble.status || answer.status == 502, "\(trouble.name): \(answer.status)")
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

    @Test("after a restart a list is fresh for the rest of its lifetime")
    func restart() throws {
        let directory = try TemporaryDirectory()
        for round in 0..<2 {
            let mirror = try MirrorKit { $0.imagePath = directory.path }
            Signed.put(on: mirror.fake)
            #expect(mirror.get(Signed.referrers).text.contains("x-unknown"))
            #expect(mirror.fake.requests(to: Signed.referrers).count == (round == 0 ? 1 : 0))
            mirror.settle()
            mirror.close()
        }
    }

    @Test("a damaged list is set aside and asked for again, and offline it is unknown", arguments: [false, true])
    func damaged(_ isAirGapped: Bool) throws {
        let directory = try TemporaryDirectory()
        let name = ListName(
            host: MirrorKit.host, repository: try #require(RepositoryName("team/app")),
            kind: .referrers(Signed.image.digest))
        var path = ""
        do {
            let mirror = try MirrorKit { $0.imagePath = directory.path }
            Signed.put(on: mirror.fake)
            #expect(mirror.get(Signed.referrers).status == 200)
            path = mirror.store.layout.list(name)
            mirror.settle()
            mirror.close()
        }
        // One entry fewer, in a file that still reads as JSON.
        let text = try String(contentsOfFile: path, encoding: .utf8)
        try text.replacingOccurrences(of: "\"n\":1.50", with: "\"n\":1.51").write(
            toFile: path, atomically: false, encoding: .utf8)
        let mirror = try MirrorKit {
            $0.imagePath = directory.path
            $0.policy.airGapped = isAirGapped
        }
        Signed.put(on: mirror.fake)
        #expect(mirror.get(Signed.referrers).status == (isAirGapped ? 503 : 200))
        mirror.settle()
        let aside = try FileManager.default.contentsOfDirectory(atPath: mirror.store.layout.quarantine)
        #expect(aside.contains { $0.contains("not-a-list") })
        #expect(FileManager.default.fileExists(atPath: path) == !isAirGapped)
        mirror.close()
    }

    // MARK: Pages

    @Test("all pages of a list are kept, and each entry is served as its author wrote it")
    func pages() throws {
        let mirror = try MirrorKit()
        Signed.put(on: mirror.fake)
        mirror.fake.on(Signed.referrers) { request in
            request.query?.contains("cursor=2") == true
                ? Signed.index([Signed.entry(2)])
                : Signed.index([Signed.entry(1)]).adding("Link", "<\(Signed.referrers)?cursor=2>; rel=\"next\"")
        }
        // Both kinds of lists: what the API does not have comes from the fallback tag.
        mirror.fake.on(Signed.fallback, Signed.index([Signed.entry(1), Signed.entry(3)]))
        let first = mirror.get(Signed.referrers + "?ns=registry.test")
        #expect(first.text.contains("[\(Signed.entry(1))]"))
        let link = try #require(first.header("link"))
        #expect(link.contains("ns=registry.test") && link.hasSuffix("; rel=\"next\""))
        let second = mirror.get(String(link.dropFirst().prefix { $0 != ">" }))
        #expect(second.text.contains("[\(Signed.entry(2)),\(Signed.entry(3))]"), "\(second.text)")
        #expect(second.header("link") == nil)
        #expect(mirror.fake.requests(to: Signed.referrers).count == 2)
        #expect(mirror.get(Signed.referrers + "?cachedPage=9").text.contains("\"manifests\":[]"))
        for text in ["0", "x", "99999999999999999999"] {
            #expect(mirror.get(Signed.referrers + "?cachedPage=\(text)").status == 400)
        }
        mirror.close()
    }

    @Test("filtering by type is done here, of the whole list")
    func filter() throws {
        let mirror = try MirrorKit()
        Signed.put(on: mirror.fake)
        mirror.fake.on(Signed.referrers, Signed.index([Signed.entry(1, type: "a/b"), Signed.entry(2, type: "c/d+e")]))
        let filtered = mirror.get(Signed.referrers + "?artifactType=c%2Fd%2Be")
        #expect(filtered.header("oci-filters-applied") == "artifactType")
        #expect(filtered.text.contains("[\(Signed.entry(2, type: "c/d+e"))]"))
        #expect(mirror.get(Signed.referrers).text.contains("\"a/b\""))
        #expect(mirror.fake.requests(to: Signed.referrers).count == 1)
        #expect(mirror.fake.requests(to: Signed.referrers)[0].query?.contains("artifactType") != true)
        mirror.close()
    }

    @Test(
        "a page that fails is an error and not a shorter list",
        arguments: ["cut", "500", "garbage", "circle", "link"])
    func brokenPage(_ kind: String) throws {
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(ttl: .zero) }
        Signed.put(on: mirror.fake)
        let next = { (answer: FakeAnswer, path: String) in
            answer.adding("Link", "<\(path)\(kind == "link" ? "" : "?cursor=2")>; rel=\"next\"")
        }
        for path in [Signed.tags, Signed.referrers] {
            let whole = path == Signed.tags ? Signed.tagList(["v1"]) : Signed.index([Signed.entry(1)])
            mirror.fake.on(path) { request in
                guard request.query?.contains("cursor=2") == true else { return next(whole, path) }
                return switch kind {
                case "cut": whole.cut(after: 20)
                case "500": .status(500)
                case "garbage": .ok(Array("<html>".utf8), type: "text/html")
                default: next(whole, path)
                }
            }
            #expect(mirror.get(path).status >= 500, "\(path)")
        }
        // Once a whole list was obtained, it is served instead.
        Signed.put(on: mirror.fake)
        let before = mirror.get(Signed.referrers)
        #expect(before.status == 200)
        mirror.fake.on(Signed.referrers) { request in
            request.query?.contains("cursor=2") == true
                ? .status(500) : next(Signed.index([Signed.entry(1)]), Signed.referrers)
        }
        #expect(mirror.get(Signed.referrers).body == before.body)
        mirror.close()
    }

    @Test("a list beyond the limits is passed through and not kept", arguments: [true, false])
    func bounds(_ byPages: Bool) throws {
        let mirror = try MirrorKit()
        if byPages { mirror.puller.keptListPages = 1 } else { mirror.puller.keptListBytes = 50 }
        Signed.put(on: mirror.fake)
        mirror.fake.on(Signed.tags) { request in
            request.query?.contains("last=v2") == true
                ? Signed.tagList(["v3"])
                : Signed.tagList(["v1", "v2"]).adding("Link", "<\(Signed.tags)?last=v2>; rel=\"next\"")
        }
        let first = mirror.get(Signed.tags)
        #expect(first.text == #"{"name":"team/app","tags":["v1","v2"]}"#)
        #expect(first.header("link") == "<\(Signed.tags)?last=v2>; rel=\"next\"")
        #expect(mirror.get(Signed.tags + "?last=v2").text == #"{"name":"team/app","tags":["v3"]}"#)
        mirror.settle()
        #expect(!FileManager.default.fileExists(atPath: mirror.store.layout.lists))
        #expect(mirror.puller.gatheredListBytes == 0)
        mirror.fake.close()
        #expect(mirror.get(Signed.tags).status == 503)
        mirror.close()
    }

    // MARK: The fallback tag

    @Test("where the API is missing the fallback tag decides", arguments: [404, 405, 406, 501])
    func withoutAPI(_ status: Int) throws {
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(ttl: .zero) }
        Signed.put(on: mirror.fake)
        mirror.fake.on(Signed.referrers, .status(status))
        // Only a 404 says for certain that there is no API, and so no list.
        let none = mirror.get(Signed.referrers)
        #expect(status == 404 ? none.text.contains("\"manifests\":[]") : none.status >= 500)
        mirror.fake.on(Signed.fallback, Signed.index([Signed.entry(3)]))
        #expect(mirror.get(Signed.referrers).text.contains("[\(Signed.entry(3))]"))
        mirror.close()
    }

    @Test("a fallback tag that cannot be had is an error, although the API has a list")
    func failingFallback() throws {
        let mirror = try MirrorKit()
        Signed.put(on: mirror.fake)
        mirror.fake.on(Signed.fallback, .status(500))
        #expect(mirror.get(Signed.referrers).status == 503)
        // A tag of that name that is no index is not a list.
        mirror.fake.on(Signed.fallback, Signed.image.answer)
        #expect(mirror.get(Signed.referrers).text.contains("[\(Signed.entry(1)),\(Signed.entry(2))]"))
        mirror.close()
    }

    // MARK: What the cache has

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

    @Test("an upstream that has failed is not asked for a kept list again at once")
    func pause() throws {
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(ttl: .zero) }
        Signed.put(on: mirror.fake)
        let before = mirror.get(Signed.tags)
        mirror.fake.on(Signed.tags, .status(500))
        for _ in 0..<5 {
            let answer = mirror.get(Signed.tags)
            #expect(answer.body == before.body && answer.header("warning") != nil)
        }
        #expect(mirror.fake.requests(to: Signed.tags).count == 2)
        let series = "ociregistry_lists_served_offline_total{endpoint=\"tags\",reason=\"failed\"}"
        #expect(try mirror.scrape()[series] == 5)
        mirror.close()
    }

    @Test("requests for a list share one fetch")
    func shared() throws {
        let mirror = try MirrorKit()
        Signed.put(on: mirror.fake)
        let clients = (0..<20).map { _ in mirror.start(.get(Signed.referrers)) }
        mirror.wait(for: clients)
        #expect(clients.allSatisfy { $0.response.status == 200 })
        #expect(mirror.fake.requests(to: Signed.referrers).count == 1)
        mirror.close()
    }

    @Test("a list whose upstream is silent is served from the cache in time")
    func late() throws {
        let mirror = try MirrorKit {
            $0.policy.tags = TagPolicies(ttl: .zero)
            $0.policy.revalidationDeadlineMilliseconds = 50
        }
        Signed.put(on: mirror.fake)
        let before = mirror.get(Signed.tags)
        mirror.fake.on(Signed.tags, .silent)
        let after = mirror.get(Signed.tags)
        #expect(after.body == before.body && after.header("warning") != nil)
        #expect(
            try mirror.scrape()["ociregistry_lists_served_offline_total{endpoint=\"tags\",reason=\"late\"}"] == 1)
        mirror.close()
    }

    @Test("prefetchReferrers brings an image's referrers, and what refers to them, into the cache")
    func prefetch() throws {
        let mirror = try MirrorKit { $0.prefetchReferrers = true }
        Signed.put(on: mirror.fake)
        let signature = Signed.signature(1)
        mirror.fake.on(
            "/v2/team/app/manifests/\(digestOf(signature))",
            .manifest(signature, type: FakeImage.type, digest: "\(digestOf(signature))"))
        mirror.fake.on("/v2/team/app/blobs/\(digestOf(Array("{}".utf8)))", .ok(Array("{}".utf8)))
        let old = FakeImage(layerBytes: [10], seed: 9)
        old.put(on: mirror.fake, tag: "sha256-\(Signed.image.digest.hex).sig")
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        mirror.wait(until: { [puller = mirror.puller] in puller.referrerPrefetches.isEmpty })
        mirror.settle()
        mirror.fake.stopListening()
        mirror.fake.hangUp()
        #expect(mirror.get("/v2/team/app/manifests/\(digestOf(signature))").body == signature)
        #expect(mirror.get("/v2/team/app/blobs/\(digestOf(Array("{}".utf8)))").status == 200)
        #expect(mirror.get("/v2/team/app/manifests/sha256-\(Signed.image.digest.hex).sig").body == old.manifest)
        #expect(mirror.get("/v2/team/app/blobs/\(digestOf(old.layers[0]))").body == old.layers[0])
        #expect(try mirror.scrape()["ociregistry_pulls_total{kind=\"manifest\",result=\"failure\"}"] == 0)
        mirror.close()
    }
}
