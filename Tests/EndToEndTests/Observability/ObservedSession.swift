// Something of everything: each kind of event that a metric counts, provoked once or more.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

struct ObservedSession {
    /// A manifest in the cache, before the server starts, that is not what its name says.
    static let broken = FakeImage(seed: 9)
    private static let image = FakeImage(seed: 1)
    /// More layers than are fetched ahead from one host at a time, so that some wait.
    private static let wide = FakeImage(layerBytes: Array(repeating: 60_000, count: 9), seed: 2)
    private static let repository = "team/app"

    let scene: ObservedServer

    static func spoil(_ layout: Layout) throws {
        let path = layout.manifest(broken.digest, .ociManifest)
        try FileManager.default.createDirectory(
            atPath: layout.manifestDirectory(broken.digest, .ociManifest), withIntermediateDirectories: true)
        try Data(broken.manifest.map { $0 ^ 1 }).write(to: URL(fileURLWithPath: path))
        try occupyTheScrub(layout)
    }

    /// More small blobs than a slow scrub is through with in this session, and an earlier pass that is over.
    private static func occupyTheScrub(_ layout: Layout) throws {
        for number in 0..<400 {
            let bytes = Array("small blob \(number)".utf8)
            let digest = digestOf(bytes)
            try FileManager.default.createDirectory(
                atPath: layout.blobDirectory(digest), withIntermediateDirectories: true)
            try Data(bytes).write(to: URL(fileURLWithPath: layout.blob(digest)))
        }
        let former = ScrubState(startedSeconds: 1_700_000_000, completedSeconds: 1_700_000_100)
        try Data(former.text.utf8).write(to: URL(fileURLWithPath: layout.scrub))
    }

    func run() throws {
        pullAndPullAgain()
        try breakAndResume()
        try fail()
        exchangeTokens()
        goStale()
        readAhead()
        refuseContent()
        listOffline()
        holdBack()
    }

    private func get(_ upstream: ObservedServer.Upstream, _ what: String) -> TestClient.Response {
        scene.get(upstream, "\(Self.repository)/\(what)")
    }

    /// Cold, cached, by HEAD, in part; lists; what only has to do with the protocol.
    private func pullAndPullAgain() {
        Self.image.put(on: scene[.good], tag: "v1")
        Self.image.put(on: scene[.good], tag: "latest")
        scene[.good].on("/v2/\(Self.repository)/tags/list", .json("{\"name\":\"team/app\",\"tags\":[\"v1\"]}"))
        let layer = "blobs/\(digestOf(Self.image.layers[1]))"
        for _ in 0..<20 {
            #expect(get(.good, "manifests/v1").status == 200)
            #expect(get(.good, layer).status == 200)
        }
        #expect(get(.good, "manifests/latest").status == 200)
        let elsewhere = "/v2/\(ObservedServer.failoverHost)/\(Self.repository)/manifests/v1"
        #expect(scene.ask(.get(elsewhere)).status == 200)
        // Of no image, so that nobody has fetched it ahead.
        let loose = pattern(5000, seed: 3)
        scene[.good].on("/v2/\(Self.repository)/blobs/\(digestOf(loose))") { .blob(loose, for: $0) }
        #expect(get(.good, "blobs/\(digestOf(loose))").status == 200)
        // Upon a connection that was used before, and had ended when the request came.
        let late = pattern(5000, seed: 4)
        scene[.good].on(
            "/v2/\(Self.repository)/blobs/\(digestOf(late))", [FakeAnswer.status(408).closing(), .ok(late)])
        #expect(get(.good, "blobs/\(digestOf(late))").status == 200)
        scene.ask(.head("/v2/good.test/\(Self.repository)/manifests/v1"))
        scene.ask(.get("/v2/good.test/\(Self.repository)/\(layer)", range: "bytes=5-9"))
        let notModified = scene.ask(
            .get("/v2/good.test/team/app/manifests/v1", [("If-None-Match", "\"\(Self.image.digest)\"")]))
        #expect(notModified.status == 304)
        #expect(get(.good, "tags/list").status == 200)
        #expect(get(.good, "referrers/\(Self.image.digest)").status == 200)
        scene[.good].on(
            "/v2/\(Self.repository)/manifests/\(digestOf(Self.signature))",
            .manifest(Self.signature, type: FakeImage.type, digest: "\(digestOf(Self.signature))"))
        #expect(get(.good, "manifests/\(digestOf(Self.signature))").status == 200)
        #expect(scene.ask(.get("/v2/docker.io/library/hello-world/tags/list")).status == 200)
        for target in ["/v2/", "/v2/auth"] { #expect(scene.ask(.get(target)).status == 200) }
    }

    private static let signed = digestOf([7])
    private static let signature = Array(
        """
        {"schemaVersion":2,"mediaType":"\(FakeImage.type)","config":\(FakeImage.descriptor("a/b", [])),"layers":[],\
        "subject":{"mediaType":"\(FakeImage.type)","digest":"\(signed)","size":1}}
        """.utf8)

    /// A list of referrers whose registry fails, made of what the cache has.
    private func listOffline() {
        scene[.good].on("/v2/\(Self.repository)/referrers/\(Self.signed)", .status(500))
        #expect(get(.good, "referrers/\(Self.signed)").status == 200)
    }

    /// An image that was published a short time ago, by its tag, by its digest, and its layer.
    private func holdBack() {
        let new = FakeImage(seed: 11)
        new.put(on: scene[.good], repository: "team/waiting", tag: "v1")
        for what in ["manifests/v1", "manifests/\(new.digest)", "blobs/\(digestOf(new.layers[0]))"] {
            #expect(scene.get(.good, "team/waiting/\(what)").status == 403, "\(what)")
        }
    }

    /// Several clients at one growing blob while others wait for their turn, one of them leaving; then the upstream
    /// breaks off, and the pulls go on where they were.
    private func breakAndResume() throws {
        let slow = scene[.slow]
        // Every request stalls, since a busy machine may ask a second time when the first answer is late.
        final class Stall { var isOn = true }
        let stall = Stall()
        Self.wide.put(on: slow, tag: "v1")
        for layer in Self.wide.layers {
            slow.on("/v2/\(Self.repository)/blobs/\(digestOf(layer))") {
                stall.isOn ? .blob(layer, for: $0).stall(after: 20_000) : .blob(layer, for: $0)
            }
        }
        #expect(get(.slow, "manifests/v1").status == 200)
        let target = "/v2/slow.test/\(Self.repository)/blobs/\(digestOf(Self.wide.layers[0]))"
        let readers = (0..<3).map { _ in scene.start(.get(target)) }
        let leaver = scene.start(.get(target))
        scene.wait { (readers + [leaver]).allSatisfy { !$0.response.body.isEmpty } }
        leaver.leave(byReset: true)
        for seen in [
            "ociregistry_pulls_in_flight{kind=\"blob\"}", "ociregistry_pulls_queued", "ociregistry_store_partial_bytes",
            "ociregistry_http_requests_in_flight", "ociregistry_http_requests_aborted_total",
            "ociregistry_upstream_requests_in_flight", "ociregistry_live_objects{kind=\"growing_blob\"}",
        ] { try scene.waitToSee(seen) }
        stall.isOn = false
        slow.hangUp()
        scene.wait { readers.allSatisfy(\.isDone) }
        for reader in readers { #expect(reader.isComplete) }
        for layer in Self.wide.layers {
            let client = scene.start(.get("/v2/slow.test/\(Self.repository)/blobs/\(digestOf(layer))"))
            scene.wait { client.isDone }
            #expect(client.isComplete && client.response.body.elementsEqual(layer))
        }
    }

    /// What is not there, does not answer, answers badly, or limits; and clients that talk nonsense.
    private func fail() throws {
        let nothing = digestOf([0])
        for what in ["blobs/\(nothing)", "manifests/none", "manifests/\(nothing)"] {
            // The second time from memory.
            for _ in 0..<2 { #expect(get(.good, what).status == 404) }
        }
        scene[.failing].answer = { _ in .status(500) }
        for what in ["manifests/v1", "blobs/\(nothing)", "tags/list", "referrers/\(nothing)"] {
            #expect(get(.failing, what).status >= 500)
        }
        // The cache has it, and nobody has said that these repositories have it.
        #expect(get(.failing, "manifests/\(Self.image.digest)").status == 404)
        scene[.good].on("/v2/team/copy/manifests/\(Self.image.digest)", Self.image.answer)
        for (repository, status) in [("copy", 200), ("other", 404)] {
            let target = "/v2/good.test/team/\(repository)/manifests/\(Self.image.digest)"
            #expect(scene.ask(.get(target)).status == status)
        }
        #expect(scene.ask(.get("/v2/\(ObservedServer.goneHost)/team/app/manifests/v1")).status >= 500)
        // One repository is paused for so long that its client waits, another one for longer than clients wait.
        scene[.limited].on("/v2/team/burst/manifests/v1", .status(429, [("Retry-After", "10")]))
        let waiting = scene.start(.get("/v2/limited.test/team/burst/manifests/v1"))
        try scene.waitToSee("ociregistry_upstream_requests_waiting")
        waiting.leave()
        scene[.limited].answer = { _ in .status(429, [("Retry-After", "600")]) }
        #expect(get(.limited, "manifests/v1").status >= 400)
        #expect(scene.ask(.get("/v2/team/app/manifests/v1")).status == 400)
        #expect(scene.ask(.get("/elsewhere")).status == 404)
        #expect(scene.ask(.get("/v2/good.test/denied/app/manifests/v1")).status == 403)
        scene.sendGarbage()
    }

    private func exchangeTokens() {
        let tokens = scene[.tokens]
        Self.image.put(on: tokens, tag: "v1")
        let target = "/v2/\(Self.repository)/manifests/guarded"
        tokens.on("/token", .token("t"))
        tokens.on(target) { [url = tokens.url] request in
            request.header("authorization") == "Bearer t"
                ? Self.image.answer.adding("ratelimit-limit", "100;w=21600").adding("ratelimit-remaining", "76;w=21600")
                : .challenge(realm: "\(url)/token")
        }
        #expect(get(.tokens, "manifests/guarded").status == 200)
        let bad = scene[.badtokens]
        bad.answer = { [url = bad.url] request in
            request.path == "/token" ? .status(403) : .challenge(realm: "\(url)/token")
        }
        #expect(get(.badtokens, "manifests/v1").status >= 400)
    }

    /// A tag that cannot be looked up again is served as it was.
    private func goStale() {
        scene[.good].on("/v2/\(Self.repository)/manifests/latest", .status(500))
        #expect(get(.good, "manifests/latest").body == Self.image.manifest)
        // And one that has moved, at an upstream with few pulls left.
        let target = "/v2/team/quota/manifests/latest"
        let shown = "/v2/\(ObservedServer.quotaHost)/team/quota/manifests/latest"
        for image in [Self.image, Self.wide] {
            scene[.good].on(target, image.answer.adding("ratelimit-remaining", "10;w=3600"))
            #expect(scene.ask(.get(shown)).body == Self.image.manifest)
        }
    }

    /// A client that reads lazily, far ahead of a pull that stands still.
    private func readAhead() {
        let bytes = pattern(6_000_000, seed: 78)
        let target = "/v2/\(Self.repository)/blobs/\(digestOf(bytes))"
        scene[.good].on(target) {
            $0.rangeStart == nil ? .ok(bytes).stall(after: 100_000) : .blob(bytes, for: $0)
        }
        let shown = "/v2/\(ObservedServer.Upstream.good.host)/\(target.dropFirst("/v2/".count))"
        let whole = scene.start(.get(shown))
        scene.wait { whole.response.body.count == 100_000 }
        let range = scene.ask(.get(shown, range: "bytes=5000000-5000999"))
        #expect(range.body == Array(bytes[5_000_000..<5_001_000]))
        scene[.good].hangUp()
        scene.wait { whole.isDone }
        #expect(whole.isComplete)
    }

    /// Content that is not what its digest says, from upstreams and in the cache; and content that never fits.
    private func refuseContent() {
        let (good, path) = (scene[.good], "/v2/\(Self.repository)")
        let blob = pattern(9000, seed: 77)
        good.on("\(path)/blobs/\(digestOf(blob))") { .blob(blob, for: $0).corrupted(at: 30) }
        #expect(get(.good, "blobs/\(digestOf(blob))").isComplete == false)
        let other = FakeImage(seed: 5)
        good.on("\(path)/manifests/\(other.digest)", other.answer.corrupted(at: 30))
        #expect(get(.good, "manifests/\(other.digest)").status >= 500)
        Self.broken.put(on: good, tag: "broken")
        #expect(get(.good, "manifests/\(Self.broken.digest)").body == Self.broken.manifest)
        let huge = digestOf([1, 2, 3])
        // The second request is the one that passes through; it breaks off and cannot be resumed.
        let claim = FakeAnswer.ok([1, 2, 3]).claiming(length: 1 << 43)
        good.on(
            "\(path)/blobs/\(huge)", { _ in claim.stall(after: 3) }, { _ in claim.cut(after: 3) }, { _ in .status(404) }
        )
        #expect(get(.good, "blobs/\(huge)").isComplete == false)
    }
}
