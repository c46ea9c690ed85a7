// Upstreams that compress what was asked for as it is.

import TestSupport
import Testing

@testable import Configuration
@testable import ImageArchive
@testable import OCI
@testable import Registry

@Suite struct EncodedAnswerTests {
    private static let image = FakeImage(seed: 91)

    private static func compressed(_ answer: FakeAnswer) throws -> FakeAnswer {
        var other = answer
        other.body = try #require(Gzip.member(of: answer.body))
        return other.adding("Content-Encoding", "gzip")
    }

    @Test("manifests and tag lists that come compressed are decoded")
    func decoded() throws {
        let mirror = try MirrorKit()
        let tags = #"{"name":"team/app","tags":["v1"]}"#
        mirror.fake.on("/v2/team/app/manifests/v1", try Self.compressed(Self.image.answer))
        mirror.fake.on("/v2/team/app/tags/list", try Self.compressed(.json(tags)))
        let head = mirror.head("/v2/team/app/manifests/v1")
        #expect(head.contentLength == Self.image.manifest.count, "not the compressed length")
        #expect(mirror.get("/v2/team/app/manifests/v1").body == Self.image.manifest)
        #expect(mirror.get("/v2/team/app/tags/list").text == tags)
        #expect(mirror.fake.requests.allSatisfy { $0.header("accept-encoding") == "identity" })
        mirror.close()
    }

    @Test("a token that comes compressed is read")
    func token() throws {
        let mirror = try MirrorKit()
        mirror.fake.on("/token", try Self.compressed(.json(#"{"token":"t"}"#)))
        mirror.fake.on("/v2/team/app/manifests/v1") { [unowned fake = mirror.fake] request in
            request.header("authorization") == "Bearer t" ? Self.image.answer : .challenge(realm: "\(fake.url)/token")
        }
        #expect(mirror.get("/v2/team/app/manifests/v1").body == Self.image.manifest)
        mirror.close()
    }

    @Test("a manifest beyond the limit when decoded, or labelled with what it is not, is refused")
    func refused() throws {
        let mirror = try MirrorKit()
        let large = FakeAnswer.manifest(
            [UInt8](repeating: 0x20, count: Manifest.maximumSizeBytes + 1), type: FakeImage.type, digest: nil)
        mirror.fake.on("/v2/team/app/manifests/large", try Self.compressed(large))
        mirror.fake.on("/v2/team/app/manifests/plain", Self.image.answer.adding("Content-Encoding", "gzip"))
        #expect(mirror.get("/v2/team/app/manifests/large").status == 502)
        #expect(mirror.get("/v2/team/app/manifests/plain").status == 503)
        mirror.close()
    }

    @Test("a blob's bytes are taken as they come, and an encoding is named when they are not the blob's")
    func blobs() throws {
        let mirror = try MirrorKit()
        let layer = Self.image.layers[1]
        let packed = try #require(Gzip.member(of: layer))
        mirror.fake.on(
            "/v2/team/app/blobs/\(digestOf(packed))", FakeAnswer.ok(packed).adding("Content-Encoding", "gzip"))
        mirror.fake.on(
            "/v2/team/app/blobs/\(digestOf(layer))", FakeAnswer.ok(packed).adding("Content-Encoding", "gzip"))
        #expect(mirror.get("/v2/team/app/blobs/\(digestOf(packed))").body == packed)
        var reason: RegistryError?
        let repository = try #require(RepositoryName("team/app"))
        let source = PullSource(host: MirrorKit.host, repository: repository, via: "1.1 test")
        _ = mirror.puller.fetchBlob(digestOf(layer), from: source) { reason = $0 }
        mirror.wait(until: { reason != nil })
        #expect(reason?.code == .digestInvalid && reason?.detail == "it came with Content-Encoding: gzip")
        mirror.close()
    }
}
