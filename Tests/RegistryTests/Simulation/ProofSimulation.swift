// A seeded simulation of the closed world: repositories that have and lose content, upstreams that fail, prunes, and
// restarts. Whatever happens, content is given out only under names whose upstream has had it, and what was given out
// under a name is given out again while it is cached, also when no upstream answers.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ProofSimulation {
    @Test("content is served under proven names only", arguments: [1, 2, 3, 4, UInt64.random(in: 5 ... .max)])
    func run(_ seed: UInt64) throws {
        let world = try ProofWorld(seed: seed)
        for step in 0..<400 {
            if let problem = try world.step() {
                Issue.record("seed \(seed), step \(step): \(problem)")
                break
            }
        }
        #expect(world.servedCount > 10 && world.refusedCount > 2, "seed \(seed): too little was tried")
        world.close()
    }
}

private final class ProofWorld {
    struct Place: Hashable {
        let host: String
        let repository: String
    }

    static let places = [
        Place(host: "a.test", repository: "team/app"), Place(host: "a.test", repository: "private/app"),
        Place(host: "b.test", repository: "team/app"),
    ]
    static let images = (1...3).map { FakeImage(layerBytes: [300, 20_000], seed: $0) }

    private var random: SeededRandom
    private let directory: TemporaryDirectory
    private var mirror: MirrorKit
    /// What the upstreams have now, and what they have ever had.
    private var has: [Place: Set<Digest>] = [:]
    private var everHad: [Place: Set<Digest>] = [:]
    private var tags: [Place: FakeImage] = [:]
    private var isDown: Set<String> = []
    /// What was served under a name and is still cached.
    private var served: [Place: Set<Digest>] = [:]
    private(set) var servedCount = 0
    private(set) var refusedCount = 0

    init(seed: UInt64) throws {
        random = SeededRandom(seed: seed)
        directory = try TemporaryDirectory()
        mirror = try MirrorKit()
        mirror.close()
        mirror = try start()
        for place in Self.places { grant(place) }
    }

    func close() { mirror.close() }

    private func start() throws -> MirrorKit {
        var addresses: [String] = []
        let mirror = try MirrorKit { options in
            options.imagePath = directory.path
            options.policy.defaultHost = nil
            options.upstreams = { loop in
                let upstreams = [FakeUpstream(on: loop), FakeUpstream(on: loop)]
                addresses = upstreams.map(\.url)
                return upstreams
            }
            options.registries = { _ in
                zip(["a.test", "b.test"], addresses).map { name, url in
                    var config = RegistryConfig(name: RegistryHost(name)!)  // a valid host
                    config.scheme = .http
                    config.send(to: url)
                    return config
                }
            }
        }
        mirror.store.requiresProofs = true
        for (host, upstream) in zip(["a.test", "b.test"], mirror.upstreams) {
            upstream.answer = { [unowned self] in answer(host, $0) }
        }
        return mirror
    }

    // MARK: Upstreams

    private func answer(_ host: String, _ request: FakeRequest) -> FakeAnswer {
        if isDown.contains(host) { return .status(503) }
        guard
            let place = Self.places.first(where: { $0.host == host && request.path.hasPrefix("/v2/\($0.repository)/") })
        else { return .status(404) }
        let reference = request.path.split(separator: "/").last.map(String.init) ?? ""
        if request.path.contains("/manifests/") {
            let image = reference == "v1" ? tags[place] : Self.images.first { "\($0.digest)" == reference }
            guard let image, has[place, default: []].contains(image.digest) else { return .status(404) }
            return image.answer
        }
        for blob in Self.images.flatMap(\.blobs) where "\(digestOf(blob))" == reference {
            return has[place, default: []].contains(digestOf(blob)) ? .blob(blob, for: request) : .status(404)
        }
        return .status(404)
    }

    private func grant(_ place: Place) {
        let image = Self.images.randomElement(using: &random)!
        // A hostile registry has the manifest, and not always what it names.
        let content = [image.digest] + image.blobs.map { digestOf($0) }.filter { _ in Bool.random(using: &random) }
        has[place, default: []].formUnion(content)
        everHad[place, default: []].formUnion(content)
        tags[place] = image
    }

    // MARK: Steps

    /// - Returns: what is wrong; nil when nothing is.
    func step() throws -> String? {
        let place = Self.places.randomElement(using: &random)!
        switch Int.random(in: 0..<24, using: &random) {
        case 0: grant(place)
        case 1: has[place] = []
        case 2: isDown.formSymmetricDifference([place.host])
        case 3: try restart()
        case 4: try prune(place)
        case 5...8: return get(place, manifest: nil)
        case 9...12: return get(place, manifest: Self.images.randomElement(using: &random)!.digest)
        default:
            return get(place, blob: Self.images.randomElement(using: &random)!.blobs.randomElement(using: &random)!)
        }
        return nil
    }

    private func get(_ place: Place, manifest: Digest?) -> String? {
        let reference = manifest.map { "\($0)" } ?? "v1"
        let response = mirror.get("/v2/\(place.repository)/manifests/\(reference)?ns=\(place.host)")
        mirror.settle()
        guard response.status == 200 else { return refused(place, manifest, response.status) }
        return check(place, digestOf(response.body), response)
    }

    private func get(_ place: Place, blob: [UInt8]) -> String? {
        let digest = digestOf(blob)
        let target = "/v2/\(place.repository)/blobs/\(digest)?ns=\(place.host)"
        let response: TestClient.Response
        switch Int.random(in: 0..<4, using: &random) {
        case 0: response = mirror.head(target)
        case 1:
            response = mirror.get(target, range: "bytes=5-9")
            if response.status == 206, response.body != Array(blob[5...9]) { return "wrong bytes of \(digest)" }
        default:
            response = mirror.get(target)
            if response.status == 200, response.body != blob { return "wrong bytes of \(digest)" }
        }
        mirror.settle()
        guard (200...206).contains(response.status) else { return refused(place, digest, response.status) }
        // A HEAD of what is not cached passes the upstream's answer on.
        guard mirror.store.blobSize(digest) != .absent else { return nil }
        return check(place, digest, response)
    }

    private func check(_ place: Place, _ digest: Digest, _ response: TestClient.Response) -> String? {
        servedCount += 1
        guard everHad[place, default: []].contains(digest) else { return "\(digest) was served as \(place)'s" }
        served[place, default: []].insert(digest)
        return nil
    }

    private func refused(_ place: Place, _ digest: Digest?, _ status: Int) -> String? {
        refusedCount += 1
        guard let digest, served[place, default: []].contains(digest) else { return nil }
        return "\(digest) of \(place) was served before, and now is \(status)"
    }

    private func restart() throws {
        mirror.close()
        mirror = try start()
        if Bool.random(using: &random) { mirror.wait(until: { [mirror] in mirror.store.isRecovered }) }
    }

    private func prune(_ place: Place) throws {
        mirror.wait { [mirror] done in
            mirror.store.prune(
                selecting: { $0.host.text == place.host && $0.repository.text == place.repository }, isForced: true,
                reporting: { $0.images.count }, then: { _ in done() })
        }
        mirror.settle()
        served[place] = []
        for (other, digests) in served { served[other] = digests.filter { isCached($0) } }
    }

    private func isCached(_ digest: Digest) -> Bool {
        mirror.store.manifests[digest] != nil || mirror.store.blobSize(digest) != .absent
    }
}
