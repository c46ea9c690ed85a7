// Every kind of setting really takes effect when the configuration is reloaded.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ReloadSettingsTests {
    private static let image = FakeImage(seed: 41)
    private static let other = FakeImage(seed: 42)

    /// A setting, and how a client or an operator notices its value.
    struct Setting: Sendable, CustomTestStringConvertible {
        let before: String
        let after: String
        /// What `notice` gives before the reload and after it.
        let expected: [String]
        /// - Parameter round: 0 before the reload, and 1 after it.
        let notice: @Sendable (ReloadScene, _ round: Int) throws -> String

        var testDescription: String { "\(before) to \(after)" }
    }

    private static func hello(_ scene: ReloadScene, _ round: Int) -> String {
        "\(scene.ask(.get("/v2/docker.io/library/hello-world/manifests/latest")).status)"
    }

    private static func pull(_ scene: ReloadScene, _ round: Int) -> String {
        image.put(on: scene.fake, tag: "r\(round)")
        return "\(scene.status("r\(round)"))"
    }

    private static func latest(_ scene: ReloadScene, _ round: Int) -> String {
        if round == 0 {
            image.put(on: scene.fake, tag: "latest")
            #expect(scene.status("latest") == 200)
            other.put(on: scene.fake, tag: "latest")
        }
        let body = scene.ask(.get("/v2/registry.test/team/app/manifests/latest")).body
        return body == other.manifest ? "new" : "old"
    }

    private static func unnamed(_ scene: ReloadScene, _ round: Int) -> String {
        image.put(on: scene.fake, tag: "v1")
        return "\(scene.ask(.get("/v2/team/app/manifests/v1")).status)"
    }

    private static func metric(_ name: String) -> @Sendable (ReloadScene, Int) throws -> String {
        { scene, _ in "\(Int(try scene.metrics()[name] ?? -1))" }
    }

    private static func silentUpstream(_ scene: ReloadScene, _ round: Int) throws -> String {
        scene.fake.on("/v2/team/app/manifests/s\(round)", .silent)
        // Without the new limit the client would get its answer at its own deadline, and the log another reason.
        if round == 0 { return "long" }
        scene.ask(.get("/v2/registry.test/team/app/manifests/s\(round)"))
        let line = try scene.process.line(containing: "upstream request failed", in: scene.process.errors)
        return line.contains("nothing arrived for 150 ms") ? "short" : "long"
    }

    private static func readyForPulls(_ scene: ReloadScene, _ round: Int) throws -> String {
        "\(Int(try scene.metrics()["ociregistry_store_recovered"] ?? 0)) \(pull(scene, round))"
    }

    private static let settings: [Setting] = [
        .init(
            before: "helloWorld: false\nairGapped: true", after: "helloWorld: true\nairGapped: true",
            expected: ["404", "200"], notice: hello),
        .init(
            before: "helloWorld: true\nairGapped: true", after: "airGapped: true", expected: ["200", "404"],
            notice: hello),
        .init(before: "airGapped: true", after: "airGapped: false", expected: ["404", "200"], notice: pull),
        .init(before: "", after: "airGapped: true", expected: ["200", "404"], notice: pull),
        .init(before: "", after: "alwaysPullLatest: true", expected: ["old", "new"], notice: latest),
        .init(before: "", after: "defaultNs: registry.test", expected: ["400", "200"], notice: unnamed),
        .init(before: "defaultNs: registry.test", after: "", expected: ["200", "400"], notice: unnamed),
        .init(
            before: "maxBytes: 1GB", after: "maxBytes: 2GB", expected: ["1000000000", "2000000000"],
            notice: metric("ociregistry_store_max_bytes")),
        .init(
            before: "", after: "minFreeBytes: 1MB", expected: ["0", "1000000"],
            notice: metric("ociregistry_store_min_free_bytes")),
        .init(
            before: "logLevel: info", after: "logLevel: info\npullTimeout: 150", expected: ["long", "short"],
            notice: silentUpstream),
        .init(before: "registries: []", after: "", expected: ["1 503", "1 200"], notice: readyForPulls),
    ]

    @Test("a setting takes effect by a reload", arguments: settings) func setting(_ setting: Setting) throws {
        let scene = try ReloadScene(setting.before)
        #expect(try setting.notice(scene, 0) == setting.expected[0])
        try scene.use(setting.after)
        #expect(try setting.notice(scene, 1) == setting.expected[1])
        try scene.close()
    }

    @Test("the log's level, format and file take effect by a reload") func log() throws {
        let scene = try ReloadScene("logLevel: error\nairGapped: true")
        let (first, second) = (scene.files.file("first.log"), scene.files.file("second.log"))
        #expect(scene.status("quiet") == 404)
        try scene.use("logLevel: info\nairGapped: true")
        #expect(scene.status("shown") == 404)
        _ = try scene.process.line(containing: "/manifests/shown ", in: scene.process.errors)
        #expect(scene.logLines(with: "/manifests/quiet").isEmpty)
        try scene.use("logLevel: info\nlogFormat: json\nairGapped: true")
        #expect(scene.status("json") == 404)
        _ = try scene.process.line(containing: "/manifests/json\",", in: scene.process.errors)
        try scene.use("logLevel: info\nlogFile: \(first)\nairGapped: true")
        #expect(scene.status("file") == 404)
        // A line of an earlier file is written before the server opens the next one.
        try scene.use("logLevel: info\nlogFile: \(second)\nairGapped: true")
        #expect(scene.status("next") == 404)
        try scene.use("logLevel: error\nairGapped: true")
        #expect(scene.status("hidden") == 404)
        try scene.close()
        let lines = try [first, second].map { try String(contentsOfFile: $0, encoding: .utf8) }
        #expect((lines[0] + lines[1]).contains("/manifests/file "))
        #expect(!lines[0].contains("/manifests/next "))
        #expect((lines[1] + scene.process.errors.text).contains("/manifests/next "))
        #expect(!(lines[0] + lines[1] + scene.process.errors.text).contains("/manifests/hidden"))
        #expect(!scene.process.errors.text.contains("/manifests/file "))
    }

    @Test("prefetchLayers takes effect by a reload") func prefetch() throws {
        let scene = try ReloadScene("prefetchLayers: never")
        Self.image.put(on: scene.fake, tag: "a")
        Self.other.put(on: scene.fake, tag: "b")
        #expect(scene.status("a") == 200)
        try scene.use("prefetchLayers: manifest")
        #expect(scene.status("b") == 200)
        let wanted = Self.other.layers.map { "/v2/team/app/blobs/\(digestOf($0))" }
        scene.run.wait { wanted.allSatisfy { !scene.fake.requests(to: $0).isEmpty } }
        #expect(Self.image.layers.allSatisfy { scene.fake.requests(to: "/v2/team/app/blobs/\(digestOf($0))").isEmpty })
        try scene.close()
    }

    @Test("rangesAhead takes effect by a reload, for pulls that begin after it") func ranges() throws {
        let scene = try ReloadScene("rangesAhead: false")
        func readAhead(_ seed: UInt64) -> (whole: TestClient, range: TestClient, path: String) {
            let bytes = pattern(6_000_000, seed: seed)
            let path = "/v2/team/app/blobs/\(digestOf(bytes))"
            scene.fake.on(path) { $0.rangeStart == nil ? .ok(bytes).stall(after: 100_000) : .blob(bytes, for: $0) }
            let target = "/v2/registry.test/\(path.dropFirst("/v2/".count))"
            let whole = scene.start(.get(target))
            scene.run.wait { whole.response.body.count == 100_000 }
            return (whole, scene.start(.get(target, range: "bytes=5000000-5000999")), path)
        }
        let before = readAhead(51)
        try scene.use("rangesAhead: true")
        let after = readAhead(52)
        scene.run.wait { after.range.isDone }
        #expect(after.range.response.status == 206)
        #expect(!before.range.isDone)
        scene.fake.hangUp()
        scene.run.wait { before.range.isDone && before.whole.isDone && after.whole.isDone }
        #expect(before.whole.isComplete && before.range.isComplete && after.whole.isComplete)
        #expect(!scene.fake.requests(to: before.path).contains { $0.rangeStart == 5_000_000 })
        try scene.close()
    }

    @Test("tokens and ways of administration take effect by a reload", .needs(.curl)) func tokens() throws {
        let scene = try ReloadScene("adminListen: 127.0.0.1:0\nadminToken: first")
        let mark = "administration: http://"
        let line = try scene.process.line(containing: mark, in: scene.process.errors)
        let admin = String(line.components(after: mark).prefix { $0 != "/" })
        func status(_ address: String, _ token: String) throws -> String {
            let output = try Command.check([
                "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Authorization: Bearer \(token)",
                "http://\(address)/cmd/manifest/list",
            ])
            return String(decoding: output, as: UTF8.self)
        }
        let serving = "127.0.0.1:\(scene.port)"
        #expect(try status(admin, "first") == "200")
        #expect(try status(serving, "first") == "403")
        try scene.use("adminListen: 127.0.0.1:0\nadminToken: second\nadminOnServingPort: true")
        #expect(try status(admin, "first") == "401")
        #expect(try status(admin, "second") == "200")
        #expect(try status(serving, "second") == "200")
        try scene.use("adminListen: 127.0.0.1:0\nadminToken: second")
        #expect(try status(serving, "second") == "403")
        // Without a token, the listener on this machine accepts its operators.
        try scene.use("adminListen: 127.0.0.1:0")
        #expect(try status(admin, "none") == "200")
        try scene.close()
    }

    @Test("a smaller budget evicts at once what is not pinned, by the pattern and the lease of the same file")
    func budget() throws {
        let scene = try ReloadScene("logLevel: info")
        Self.image.put(on: scene.fake, tag: "kept")
        Self.other.put(on: scene.fake, tag: "gone")
        for (tag, image) in [("kept", Self.image), ("gone", Self.other)] {
            #expect(scene.status(tag) == 200)
            for blob in image.blobs {
                let target = "/v2/registry.test/team/app/blobs/\(digestOf(blob))"
                #expect(scene.ask(.get(target)).body == blob)
            }
        }
        try scene.use("logLevel: info\nmaxBytes: 60KB\npinned: ':kept$'\nleaseDuration: 0s")
        scene.run.wait { !scene.logLines(with: "store: made room").isEmpty }
        let list = try Command.run([Checkout.server, "list", "--image-path", scene.files.file("images")])
        #expect(list.text.contains("registry.test/team/app kept "), "\(list)")
        #expect(!list.text.contains("registry.test/team/app gone "), "\(list)")
        try scene.close()
    }

    @Test("schedules of pruning and scrubbing begin and end by a reload") func schedules() throws {
        let scene = try ReloadScene("logLevel: info")
        Self.image.put(on: scene.fake, tag: "v1")
        #expect(scene.status("v1") == 200)
        let schedule = "{enabled: true, duration: 1s, type: created, frequency: 1s, dryRun: true}"
        try scene.use("logLevel: info\npruneConfig: \(schedule)\nscrub: {interval: 1d}\nleaseDuration: 0s")
        let removal = "prune: would remove image=registry.test/team/app:v1"
        _ = try scene.process.line(containing: removal, in: scene.process.errors)
        _ = try scene.process.line(containing: "scrub: pass complete", in: scene.process.errors)
        #expect(try scene.metrics()["ociregistry_scrub_last_complete_timestamp_seconds"] ?? 0 > 0)
        try scene.use("logLevel: info")
        try scene.use("logLevel: info\nscrub: {interval: 1m, bytesPerSecond: 1MB}")
        try scene.close()
    }

    @Test("a changed preloadImages is loaded as at the start") func preload() throws {
        let scene = try ReloadScene("logLevel: info")
        Self.image.put(on: scene.fake, tag: "v1")
        let list = try scene.files.write("registry.test/team/app:v1\n", to: "list")
        try scene.use("logLevel: info\npreloadImages: \(list)\nallPlatforms: true")
        scene.run.wait { !scene.logLines(with: "preload ended").isEmpty }
        #expect(scene.logLines(with: "preload ended")[0].contains("loaded=1"))
        try scene.use("logLevel: info\npreloadImages: \(list)\nallPlatforms: true\nmaxBytes: 1GB")
        #expect(scene.logLines(with: "preload ended").count == 1)
        try scene.close()
    }
}
