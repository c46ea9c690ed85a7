// What clients are told where a small difference matters: an empty list that is not one, a question that has its answer
// already, a connection that stays.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct AnswerTests {
    static let subject = digestOf([1])
    static let referrers = "/v2/team/app/referrers/\(subject)"
    static let fallback = "/v2/team/app/manifests/sha256-\(subject.hex)"

    private static func entry(_ artifactType: String?) -> String {
        let type = artifactType.map { ",\"artifactType\":\"\($0)\"" } ?? ""
        return FakeImage.descriptor(FakeImage.type, [2]).dropLast() + type + "}"
    }

    private static func index(_ members: String, type: String = MediaType.ociIndex.text) -> FakeAnswer {
        .ok(Array("{\"schemaVersion\":2,\(members)}".utf8), type: type)
    }

    // MARK: Referrers

    @Test("a referrers index without a mediaType is accepted") func untypedIndex() throws {
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(ttl: .zero) }
        mirror.fake.on(Self.referrers, Self.index("\"manifests\":[\(Self.entry("a/b"))]"))
        #expect(mirror.get(Self.referrers).text.contains("\(digestOf([2]))"))
        mirror.fake.on(Self.referrers, Self.index("\"manifests\":null"))
        let none = mirror.get(Self.referrers)
        #expect(none.status == 200 && none.text.contains("\"manifests\":[]"))
        mirror.close()
    }

    @Test(
        "an unreadable referrers index is a 502 instead of an empty list",
        arguments: ["\"manifests\":[{}]", "\"manifests\":7", "\"layers\":[]", "\"manifests\""])
    func unreadableIndex(_ members: String) throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.referrers, Self.index(members))
        mirror.fake.on(Self.fallback, .status(404))
        #expect(mirror.get(Self.referrers).status == 502)
        mirror.fake.on(Self.referrers, Self.index(members, type: "text/html"))
        mirror.fake.on(Self.fallback, Self.index(members))
        #expect(mirror.get(Self.referrers).status == 502)
        // What claims to be a page and is none may be a damaged list.
        mirror.fake.on(Self.fallback, .status(404))
        #expect(mirror.get(Self.referrers).status == 502)
        // A web page means that the API is missing: the fallback tag decides.
        mirror.fake.on(
            Self.referrers, .ok(Array("\n<!doctype html><p>\(members)".utf8), type: "text/html; charset=utf-8"))
        #expect(mirror.get(Self.referrers).text.contains("\"manifests\":[]"))
        mirror.close()
    }

    @Test("a referrer without an artifactType is not filtered out") func untypedEntry() throws {
        let mirror = try MirrorKit()
        mirror.fake.on(Self.referrers, Self.index("\"manifests\":[\(Self.entry("a/b")),\(Self.entry(nil))]"))
        let list = mirror.get(Self.referrers + "?artifactType=a/c")
        #expect(list.status == 200 && list.header("oci-filters-applied") == nil)
        #expect(list.text.contains("\(digestOf([2]))"))
        mirror.close()
    }

    // MARK: Questions

    @Test("a HEAD miss whose If-None-Match has the upstream's digest is a 304") func coldHead() throws {
        let mirror = try MirrorKit()
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        let layer = digestOf(image.layers[0])
        let targets = [
            ("/v2/team/app/manifests/v1", image.digest), ("/v2/team/app/manifests/\(image.digest)", image.digest),
            ("/v2/team/app/blobs/\(layer)", layer),
        ]
        for (target, digest) in targets {
            let same = mirror.head(target, [("If-None-Match", "\"\(digest)\"")])
            #expect(same.status == 304 && same.header("etag") == "\"\(digest)\"", "\(target)")
            #expect(mirror.head(target, [("If-None-Match", "\"other\"")]).status == 200, "\(target)")
        }
        #expect(mirror.fake.requests.allSatisfy { $0.method == "HEAD" })
        mirror.close()
    }

    // MARK: Connections

    @Test("an HTTP/1.0 client that asks for keep-alive gets Connection: keep-alive") func http10() throws {
        let mirror = try MirrorKit()
        func connection(_ version: String, _ option: String?) -> String? {
            var request = TestClient.Request.get("/v2/", option.map { [("Connection", $0)] } ?? [])
            request.version = version
            return mirror.ask(request).response.header("connection")
        }
        #expect(connection("1.0", "keep-alive") == "keep-alive")
        #expect(connection("1.0", nil) == "close")
        #expect(connection("1.1", nil) == nil)
        #expect(connection("1.1", "close") == "close")
        mirror.close()
    }
}
