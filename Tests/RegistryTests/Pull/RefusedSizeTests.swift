// Upstreams that state sizes no content has: the pull fails with a reason, at once, and the server keeps running.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct RefusedSizeTests {
    private static let largest = "9223372036854775807"

    enum Limit: String, CaseIterable { case none, maxBytes, minFreeBytes }

    private static func path(_ blob: [UInt8]) -> String { "/v2/team/app/blobs/\(digestOf(blob))" }

    private static func answer(_ status: Int, _ fields: String..., body: String = "some bytes") -> FakeAnswer {
        .raw("HTTP/1.1 \(status) X\r\n" + fields.map { "\($0)\r\n" }.joined() + "\r\n" + body)
    }

    @Test("two layers of 2^63-1 bytes at once get 502 each, and the server keeps running", arguments: Limit.allCases)
    func twoAtOnce(_ limit: Limit) throws {
        let mirror = try MirrorKit {
            if limit == .maxBytes { $0.limits.budget.maxBytes = 1 << 40 }
            if limit == .minFreeBytes { $0.limits.budget.minFreeBytes = 1 }
        }
        mirror.wait(until: { mirror.store.isRecovered })
        let image = FakeImage(layerBytes: [1000, 2000], seed: 3)
        image.put(on: mirror.fake, tag: "v1")
        for layer in image.layers {
            mirror.fake.on(
                Self.path(layer), [Self.answer(200, "Content-Length: \(Self.largest)"), .ok(layer)])
        }
        let clients = image.layers.map { mirror.start(.get(Self.path($0))) }
        mirror.wait(for: clients)
        for client in clients {
            let response = client.response
            #expect(response.status == 502 && response.errorCode == "SIZE_INVALID", "\(response.text)")
            #expect(response.text.contains("registry.test") && response.text.contains(Self.largest))
            #expect(response.header("retry-after") == nil)
        }
        for layer in image.layers {
            #expect(mirror.fake.requests(to: Self.path(layer)).count == 1, "it is not asked again")
        }
        mirror.settle()
        #expect(mirror.store.reservedBytes == 0)
        #expect(mirror.log.text.contains("blob pull failed"))
        for layer in image.layers { #expect(mirror.get(Self.path(layer)).body == layer) }
        _ = try mirror.scrape()
        mirror.close()
    }

    @Test(
        "every size above 16 TiB is a 502 that names it",
        arguments: [
            "17592186044417", largest, "9223372036854775808", "18446744073709551615", "18446744073709551616",
            "1000000000000000000000000000000",
        ])
    func sizes(_ size: String) throws {
        let mirror = try MirrorKit()
        mirror.fake.answer = { _ in Self.answer(200, "Content-Type: \(FakeImage.type)", "Content-Length: \(size)") }
        let digest = digestOf([1])
        for place in ["blobs/\(digest)", "manifests/\(digest)", "manifests/v1", "tags/list", "referrers/\(digest)"] {
            let response = mirror.get("/v2/team/app/\(place)")
            #expect(response.status == 502 && response.text.contains(size), "\(place): \(response.text)")
        }
        for place in ["blobs/\(digest)", "manifests/v1"] {
            #expect(mirror.head("/v2/team/app/\(place)").status == 502)
        }
        mirror.close()
    }

    @Test("a size of 16 TiB is valid: HEAD reports it, and GET passes it through")
    func largestSize() throws {
        let mirror = try MirrorKit { $0.limits.budget.maxBytes = 1 << 40 }
        mirror.wait(until: { mirror.store.isRecovered })
        mirror.fake.answer = { _ in .ok([1]).claiming(length: Int(ContentSize.maximum)).stall(after: 1) }
        let path = "/v2/team/app/blobs/\(digestOf([1]))"
        #expect(mirror.head(path).header("content-length") == "\(ContentSize.maximum)")
        let client = mirror.start(.get(path))
        mirror.wait(until: { client.response.status == 200 })
        #expect(client.response.header("content-length") == "\(ContentSize.maximum)")
        #expect(client.response.header("x-ociregistry-cache") == "bypass")
        mirror.close()
    }

    @Test(
        "a resumed pull whose Content-Range is out of bounds ends, and a later pull resumes",
        arguments: [
            "Content-Range: bytes 60000-\(largest)/9223372036854775808",
            "Content-Range: bytes 60000-99999/18446744073709551616", "Content-Range: bytes 60000-99999/17592186044417",
        ])
    func ranges(_ field: String) throws {
        let bytes = pattern(100_000, seed: 8)
        let mirror = try MirrorKit()
        mirror.fake.on(
            Self.path(bytes), { _ in .ok(bytes).cut(after: 60_000) },
            { _ in Self.answer(206, field, "Content-Length: 40000") }, { .blob(bytes, for: $0) })
        let client = mirror.ask(.get(Self.path(bytes)))
        // Whether the size was reported before that depends on when the disk had reserved it.
        let isCutOff = client.response.status == 200 && !client.isComplete
        #expect(isCutOff ? bytes.starts(with: client.response.body) : client.response.status == 502)
        #expect(mirror.fake.requests(to: Self.path(bytes)).count == 2, "it is not asked again")
        mirror.settle()
        #expect(mirror.get(Self.path(bytes)).body == bytes)
        #expect(mirror.fake.requests(to: Self.path(bytes)).last?.rangeStart != nil, "from where it stopped")
        mirror.close()
    }

    @Test("the bodies of challenges and redirects may state any size")
    func unreadBodies() throws {
        let bytes = pattern(3000, seed: 9)
        let mirror = try MirrorKit {
            $0.auth = RegistryAuth(user: "u", password: Secret("p"))
        }
        let path = Self.path(bytes)
        mirror.fake.on("/elsewhere", .ok(bytes))
        for size in [Self.largest, "99999999999999999999"] {
            mirror.fake.on("/token", .token("t\(size)"))
            mirror.fake.on(
                path,
                { _ in
                    Self.answer(
                        401, "WWW-Authenticate: Bearer realm=\"\(mirror.fake.url)/token\"", "Content-Length: \(size)")
                },
                { _ in Self.answer(307, "Location: /elsewhere", "Content-Length: \(size)") })
            #expect(mirror.head(path).header("content-length") == "3000")
        }
        mirror.close()
    }

    @Test("a manifest of absurd sizes is served unchanged; blobs without a size are not prefetched")
    func manifests() throws {
        let image = FakeImage(layerBytes: [1000, 2000, 3000], seed: 4)
        var text = String(decoding: image.manifest, as: UTF8.self)
        text = text.replacing("\"size\":2000", with: "\"size\":\(Self.largest)")
        text = text.replacing("\"size\":3000", with: "\"size\":-1")
        let manifest = Array(text.utf8)
        let mirror = try MirrorKit { $0.prefetchLayers = .manifest }
        image.put(on: mirror.fake, tag: "x")
        mirror.fake.on(
            "/v2/team/app/manifests/v1", .manifest(manifest, type: FakeImage.type, digest: "\(digestOf(manifest))"))
        #expect(mirror.get("/v2/team/app/manifests/v1").body == manifest)
        mirror.wait(until: { mirror.fake.requests.count >= 3 })
        mirror.settle()
        let asked = Set(mirror.fake.requests.map(\.path))
        #expect(asked.contains(Self.path(image.config)) && asked.contains(Self.path(image.layers[0])))
        #expect(!asked.contains(Self.path(image.layers[1])) && !asked.contains(Self.path(image.layers[2])))
        for layer in image.layers { #expect(mirror.get(Self.path(layer)).body == layer) }
        #expect(mirror.get("/v2/team/app/manifests/v1").body == manifest)
        mirror.close()
    }
}
