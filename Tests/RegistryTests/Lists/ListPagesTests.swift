// The pages of lists that are fetched, and the fallback tag of referrers.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ListPagesTests {
    private typealias Signed = SignedImage

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
        #expect(mirror.puller.gatheredLists.isEmpty)
        mirror.fake.close()
        #expect(mirror.get(Signed.tags).status == 503)
        mirror.close()
    }

    @Test("a list that the fallback tag makes too long is passed through and not kept", arguments: [true, false])
    func boundsOfFallback(_ byPages: Bool) throws {
        let mirror = try MirrorKit()
        Signed.put(on: mirror.fake)
        let long = String(repeating: "x", count: Manifest.maximumSizeBytes * 2 / 3)
        let pages = [
            Signed.index([Signed.entry(1, type: "a/" + long)]), Signed.index([Signed.entry(2, type: "b/" + long)]),
        ]
        if byPages { mirror.puller.keptListPages = 1 } else { mirror.puller.keptListBytes = long.count * 3 / 2 }
        mirror.fake.on(Signed.referrers, pages[0])
        mirror.fake.on(Signed.fallback, pages[1])
        #expect(mirror.get(Signed.referrers).body == pages[0].body)
        mirror.settle()
        #expect(!FileManager.default.fileExists(atPath: mirror.store.layout.lists))
        mirror.close()
    }

    @Test("pages of two endpoints are not one list") func endpoints() throws {
        let host = try #require(RegistryHost("many.test"))
        let mirror = try MirrorKit {
            $0.upstreams = { loop in [FakeUpstream(on: loop), FakeUpstream(on: loop)] }
            $0.registries = { _ in [] }
            $0.policy.tags = TagPolicies(ttl: .zero)
        }
        var config = RegistryConfig(name: host)
        config.isList = true
        for fake in mirror.upstreams { config.add(endpoint: fake.url) }
        mirror.client.reload(
            registries: [mirror.fake.config(), config], settings: UpstreamSettings(Config()),
            noProgressMilliseconds: 20_000, credentials: CredentialSettings(offload: mirror.offload) { _ in nil })
        let next = { (answer: FakeAnswer) in answer.adding("Link", "<\(Signed.tags)?last=v1>; rel=\"next\"") }
        mirror.upstreams[0].on(Signed.tags) {
            $0.query?.contains("last=") == true ? .status(500) : next(Signed.tagList(["v1"]))
        }
        mirror.upstreams[1].on(Signed.tags, Signed.tagList(["v9"]))
        let answer = mirror.get("/v2/many.test/team/app/tags/list")
        #expect(answer.status == 502 && answer.text.contains("another endpoint"), "\(answer.text)")
        #expect(mirror.upstreams[1].requests(to: Signed.tags).count == 1)
        mirror.close()
    }

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
}
