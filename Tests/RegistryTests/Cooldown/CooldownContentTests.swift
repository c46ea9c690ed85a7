// Manifests and blobs by digest under cooldown, through every name.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct CooldownContentTests {
    private typealias Kit = CooldownKit

    @Test("an image that waits is refused by digest, also where a registry without a cooldown does not have it")
    func byDigest() throws {
        let kit = try Kit()
        for repository in ["team/app", "other/app"] {
            Kit.new.put(on: kit.mirror.fake, repository: repository, tag: "latest")
        }
        kit.expectHeld(Kit.latest)
        kit.expectHeld(Kit.manifest(Kit.new), by: Kit.new.digest)
        kit.expectHeld(Kit.layer(Kit.new))
        // It is in the cache by now, to be looked at.
        kit.mirror.wait(for: { done in kit.mirror.store.whenWritten(then: done) })
        #expect(kit.get(Kit.manifest(Kit.new, "no/such")).status == 404)
        kit.expectServed(Kit.new, "other/app")
        kit.expectHeld(Kit.manifest(Kit.new))
        kit.expectHeld(Kit.layer(Kit.new))
        #expect(kit.mirror.metrics.tags.heldCount(.manifest) == 4 && kit.mirror.metrics.tags.heldCount(.blob) == 4)
        kit.close()
    }

    @Test("a list of referrers is not held back, and a missing tag is not asked for again and again") func others()
        throws
    {
        let kit = try Kit { $0.negativeCache = NegativeCacheSettings() }
        SignedImage.put(on: kit.mirror.fake)
        #expect(kit.get(SignedImage.referrers).status == 200)
        let missing = "/v2/team/app/manifests/missing"
        for _ in 0..<5 { #expect(kit.get(missing).status == 404) }
        #expect(kit.mirror.fake.requests(to: missing).map(\.method) == ["HEAD", "GET"])
        kit.close()
    }

    @Test("after a restart, concurrent requests for all layers of a served image succeed", .timeLimit(.minutes(2)))
    func parallel()
        throws
    {
        let directory = try TemporaryDirectory()
        let image = FakeImage(layerBytes: Array(repeating: 300, count: 13), seed: 88)
        do {
            let kit = try Kit { $0.imagePath = directory.path }
            image.put(on: kit.mirror.fake, tag: "latest")
            kit.approve(image)
            #expect(kit.get(Kit.latest).status == 200)
            kit.expectServed(image)
            kit.close()
        }
        let kit = try Kit { $0.imagePath = directory.path }
        let clients = image.layers.map { kit.mirror.start(.get("/v2/team/app/blobs/\(digestOf($0))")) }
        kit.mirror.wait(for: clients)
        #expect(clients.allSatisfy { $0.response.status == 200 })
        kit.close()
    }

    @Test("the entries of a signature's index wait, also after a restart") func signatureIndex() throws {
        let directory = try TemporaryDirectory()
        let tag = "/v2/team/app/manifests/sha256-\(Kit.old.digest.hex)"
        let type = MediaType.ociIndex.text
        let entry = FakeImage.descriptor(FakeImage.type, Kit.new.manifest)
        let index = Array("{\"schemaVersion\":2,\"mediaType\":\"\(type)\",\"manifests\":[\(entry)]}".utf8)
        for _ in 0..<2 {
            let kit = try Kit { $0.imagePath = directory.path }
            let fake = kit.mirror.fake
            Kit.old.put(on: fake, tag: "latest")
            Kit.new.put(on: fake, tag: "part")
            let answer = FakeAnswer.manifest(index, type: type, digest: "\(digestOf(index))")
            fake.on(tag, answer)
            fake.on("/v2/team/app/manifests/\(digestOf(index))", answer)
            kit.approve(Kit.old)
            #expect(kit.get(Kit.latest).status == 200)
            #expect(kit.get(tag).body == index)
            kit.expectHeld(Kit.manifest(Kit.new))
            kit.expectHeld(Kit.layer(Kit.new))
            kit.close()
        }
    }

    /// What a runtime would run, disguised as a signature.
    private static let disguises: [(from: String, to: String)] = [
        ("application/vnd.oci.empty.v1+json", "application/octet-stream"),
        ("application/vnd.oci.empty.v1+json", "Application/JSON; charset=utf-8"),
        ("\"layers\":[]", "\"layers\":[],\"Config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\"}"),
        ("\"layers\":[]", "\"layers\":[],\"\\u0063onfig\":{}"),
        ("\"layers\":[]", "\"layers\":[],\"Layers\":[]"),
        (
            "\"layers\":[]",
            "\"layers\":[\(FakeImage.descriptor("application/vnd.oci.image.layer.v1.tar", [1]))]"
        ),
    ]

    @Test("an image that is disguised as a signature waits", arguments: disguises.indices) func disguised(_ index: Int)
        throws
    {
        let kit = try Kit()
        let image = SignedImage.image
        image.put(on: kit.mirror.fake, tag: "latest")
        kit.approve(image)
        #expect(kit.get(Kit.latest).status == 200)
        let (from, to) = Self.disguises[index]
        let text = String(decoding: SignedImage.signature(1), as: UTF8.self).replacingOccurrences(of: from, with: to)
        let bytes = Array(text.utf8)
        let target = "/v2/team/app/manifests/\(digestOf(bytes))"
        kit.mirror.fake.on(target, .manifest(bytes, type: FakeImage.type, digest: "\(digestOf(bytes))"))
        kit.expectHeld(target, by: digestOf(bytes))
        kit.close()
    }

    @Test("a pull that began before a cooldown was configured admits nothing") func reload() throws {
        let kit = try Kit("tagTTL: 1m")
        Kit.new.put(on: kit.mirror.fake, tag: "latest")
        var answer = Kit.new.answer
        answer.delayMilliseconds = 200
        kit.mirror.fake.on(Kit.latest, answer)
        let client = kit.mirror.start(.get(Kit.latest))
        kit.mirror.wait(until: { kit.mirror.fake.requests(to: Kit.latest).count == 1 })
        kit.mirror.api.replaceTagPolicies(try TagPolicyKit.policies(Kit.policies))
        kit.mirror.wait(for: [client])
        #expect(client.response.status == 200)
        kit.expectHeld(Kit.latest)
        kit.expectHeld(Kit.manifest(Kit.new))
        kit.expectHeld(Kit.layer(Kit.new))
        kit.close()
    }

    @Test("a manifest that is requested by digest waits from its first answer by the upstream")
    func unknown() throws {
        let kit = try Kit()
        let target = Kit.manifest(Kit.new)
        #expect(kit.get(target).status == 404)
        kit.pass(seconds: 3 * Kit.day)
        Kit.new.put(on: kit.mirror.fake, tag: "latest")
        kit.expectHeld(target, by: Kit.new.digest)
        #expect(kit.mirror.fake.requests(to: target).map(\.method) == ["GET", "GET"])
        kit.pass(seconds: 3 * Kit.day + 2)
        kit.expectServed(Kit.new)
        kit.close()
    }

    @Test("a tag without a cooldown admits what it means, also by a HEAD and after it has moved") func free() throws {
        let kit = try Kit()
        Kit.new.put(on: kit.mirror.fake, tag: "latest")
        kit.expectHeld(Kit.latest)
        Kit.new.put(on: kit.mirror.fake, tag: "free")
        #expect(kit.mirror.head(Kit.free).status == 200)
        kit.expectServed(Kit.new)
        kit.expectHeld(Kit.latest, by: Kit.new.digest)
        Kit.old.put(on: kit.mirror.fake, tag: "free")
        kit.pass(seconds: 60)
        #expect(kit.get(Kit.free).body == Kit.old.manifest)
        kit.expectServed(Kit.new)
        kit.expectServed(Kit.old)
        kit.close()
    }

    @Test("the children of an index and their blobs are held back and admitted with it") func index() throws {
        let kit = try Kit()
        let fake = kit.mirror.fake
        let parts = [Kit.old, Kit.new]
        for part in parts { part.put(on: fake, tag: "part") }
        let list = parts.map { FakeImage.descriptor(FakeImage.type, $0.manifest) }.joined(separator: ",")
        let type = MediaType.ociIndex.text
        let index = Array("{\"schemaVersion\":2,\"mediaType\":\"\(type)\",\"manifests\":[\(list)]}".utf8)
        let answer = FakeAnswer.manifest(index, type: type, digest: "\(digestOf(index))")
        fake.on(Kit.latest, answer)
        fake.on("/v2/team/app/manifests/\(digestOf(index))", answer)
        kit.expectHeld(Kit.latest, by: digestOf(index))
        for part in parts {
            kit.expectHeld(Kit.manifest(part))
            kit.expectHeld(Kit.layer(part))
        }
        kit.pass(seconds: 3 * Kit.day - 600)
        kit.expectHeld(Kit.latest)
        kit.pass(seconds: 602)
        #expect(kit.get(Kit.latest).body == index)
        for part in parts { kit.expectServed(part) }
        kit.close()
    }

    @Test("a child that is younger than its index is served with it") func youngChild() throws {
        let kit = try Kit()
        let fake = kit.mirror.fake
        Kit.new.put(on: fake, tag: "part")
        let type = MediaType.ociIndex.text
        let entry = FakeImage.descriptor(FakeImage.type, Kit.new.manifest)
        let index = Array("{\"schemaVersion\":2,\"mediaType\":\"\(type)\",\"manifests\":[\(entry)]}".utf8)
        let answer = FakeAnswer.manifest(index, type: type, digest: "\(digestOf(index))")
        fake.on(Kit.latest, answer)
        fake.on("/v2/team/app/manifests/\(digestOf(index))", answer)
        kit.mirror.store.record(.approved(digestOf(index)))
        #expect(kit.get(Kit.latest).body == index)
        kit.expectServed(Kit.new)
        // Its own tag holds it back.
        kit.expectHeld("/v2/team/app/manifests/part", by: Kit.new.digest)
        kit.close()
    }

    @Test("without an upstream's name nothing is served, and where no policy has a cooldown everything is")
    func scope() throws {
        let kit = try Kit { $0.policy.defaultHost = nil }
        Kit.new.put(on: kit.mirror.fake, repository: "other/app", tag: "v1")
        #expect(kit.get("/v2/registry.test/other/app/manifests/v1").status == 200)
        kit.mirror.settle()
        #expect(kit.get(Kit.manifest(Kit.new)).status == 404)
        kit.mirror.api.replaceTagPolicies(TagPolicies())
        #expect(kit.get(Kit.manifest(Kit.new)).body == Kit.new.manifest)
        #expect(kit.mirror.store.ledger == nil)
        kit.close()
    }

    @Test("what refers to a served image is served, but not what can be run", arguments: [true, false])
    func referrers(_ isRunnable: Bool) throws {
        let kit = try Kit()
        let fake = kit.mirror.fake
        let image = SignedImage.image
        image.put(on: fake, tag: "latest")
        kit.approve(image)
        #expect(kit.get(Kit.latest).status == 200)
        var text = String(decoding: SignedImage.signature(1), as: UTF8.self)
        if isRunnable {
            text = text.replacingOccurrences(
                of: "application/vnd.oci.empty.v1+json", with: "application/vnd.oci.image.config.v1+json")
        }
        let signature = Array(text.utf8)
        let answer = FakeAnswer.manifest(signature, type: FakeImage.type, digest: "\(digestOf(signature))")
        let byDigest = "/v2/team/app/manifests/\(digestOf(signature))"
        let byTag = "/v2/team/app/manifests/sha256-\(image.digest.hex).sig"
        fake.on(byDigest, answer)
        fake.on(byTag, answer)
        let empty = Array("{}".utf8)
        fake.on("/v2/team/app/blobs/\(digestOf(empty))", .ok(empty))
        if isRunnable {
            kit.expectHeld(byDigest, by: digestOf(signature))
            kit.expectHeld(byTag, by: digestOf(signature))
        } else {
            #expect(kit.get(byTag).body == signature)
            #expect(kit.get(byDigest).body == signature)
            #expect(kit.get("/v2/team/app/blobs/\(digestOf(empty))").body == empty)
        }
        // Of an image that waits.
        let other = Array(text.replacingOccurrences(of: "\(image.digest)", with: "\(Kit.new.digest)").utf8)
        let target = "/v2/team/app/manifests/\(digestOf(other))"
        fake.on(target, .manifest(other, type: FakeImage.type, digest: "\(digestOf(other))"))
        kit.expectHeld(target)
        kit.close()
    }

    @Test("images of archives are served at once, and those of lists wait", arguments: [true, false])
    func loads(_ isArchive: Bool) throws {
        let files = try TemporaryDirectory()
        let kit = try Kit()
        Kit.new.put(on: kit.mirror.fake, tag: "latest")
        let context = LoadContext(
            loop: kit.mirror.run.loop, offload: kit.mirror.offload, store: kit.mirror.store, puller: kit.mirror.puller,
            names: kit.mirror.api.names, tags: kit.mirror.api.tags, pseudonym: "test")
        let name = "registry.test/team/app:latest"
        var path = try files.write(name, to: "list.txt")
        if isArchive {
            path = "\(files.path)/layout"
            try FileManager.default.createDirectory(
                atPath: "\(path)/blobs/sha256", withIntermediateDirectories: true)
            for bytes in Kit.new.blobs + [Kit.new.manifest] {
                try Data(bytes).write(to: URL(fileURLWithPath: "\(path)/blobs/sha256/\(digestOf(bytes).hex)"))
            }
            let entry =
                FakeImage.descriptor(FakeImage.type, Kit.new.manifest).dropLast()
                + ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"\(name)\"}}"
            _ = try files.write("{\"schemaVersion\":2,\"manifests\":[\(entry)]}", to: "layout/index.json")
            _ = try files.write("{\"imageLayoutVersion\":\"1.0.0\"}", to: "layout/oci-layout")
        }
        var report: LoadReport?
        Loader(context, LoadChoices(platforms: .all), onEvent: { _ in }).load(path) { report = $0 }
        kit.mirror.wait(until: { report != nil })
        if isArchive {
            #expect(report?.failures.isEmpty == true && report?.progress.loaded == 1)
            #expect(kit.get(Kit.latest).body == Kit.new.manifest)
            kit.expectServed(Kit.new)
        } else {
            #expect(report?.failures.first?.reason.contains("held back until") == true, "\(report?.failures ?? [])")
            kit.expectHeld(Kit.latest)
        }
        kit.close()
    }
}
