// A server that is killed while it writes the index of proofs, at each operation on that file
// (Tests/Preload/kill-at-proofs.c): the next server has every proof that an answer relied on, and none besides.

import Foundation
import Glibc
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite(.serialized, .needs(.cc, .curl, .dockerRegistry)) struct ProofKillTests {
    private static let image = FakeImage(layerBytes: [40_000], seed: 5)
    private static let built = Result { try build() }

    private static func build() throws -> TemporaryDirectory {
        let files = try TemporaryDirectory()
        try Command.check([
            "cc", "-Wall", "-Werror", "-O1", "-shared", "-fPIC", "-o", files.file("kill.so"),
            "\(Checkout.root)/Tests/Preload/kill-at-proofs.c", "-ldl",
        ])
        return files
    }

    /// Content under a name.
    private struct Item: Hashable {
        let host: String
        let path: String
        var target: String { "/v2/team/app/\(path)?ns=\(host)" }
    }

    /// The registry is reached as `one.test` and as `two.test`; `other.test` leads to nobody.
    private static let items = ["one.test", "two.test"].flatMap { host in
        ["manifests/\(image.digest)", "blobs/\(digestOf(image.layers[0]))"].map { Item(host: host, path: $0) }
    }

    private let registry: DockerRegistry
    private let storage: RegistryStorage

    init() throws {
        storage = try RegistryStorage()
        try storage.add(Self.image, repository: "team/app", tags: ["v1"])
        registry = try DockerRegistry(storing: storage.path)
    }

    private func serve(
        _ imagePath: String, isAirGapped: Bool = false, _ environment: [String: String] = [:]
    ) throws -> OciRegistryProcess {
        let upstreams = ["one.test": registry.address, "two.test": registry.address, "other.test": "127.0.0.1:1"]
        return try OciRegistryProcess(
            upstreams: upstreams, imagePath: imagePath,
            arguments: ["--metrics", "0"] + (isAirGapped ? ["--air-gapped"] : []),
            settings: "registriesOnly: true\n", environment: environment)
    }

    /// The status of a request; nil when the server is gone.
    private func ask(_ item: Item, _ server: OciRegistryProcess) throws -> String? {
        let result = try Command.run([
            "curl", "--silent", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{http_code}",
            "http://\(server.address)\(item.target)",
        ])
        return result.status == 0 ? result.text : nil
    }

    /// Pulls everything as one registry's, then requests it as the other's, then as both. After the first time
    /// everything is in the cache, and answers rely on proofs.
    /// - Returns: those, and whether the server still runs.
    private func pull(_ server: OciRegistryProcess) throws -> (hits: Set<Item>, isAlive: Bool) {
        var hits: Set<Item> = []
        let half = Self.items.count / 2
        for (round, items) in [Self.items.prefix(half), Self.items.suffix(half), Self.items[...]].enumerated() {
            for item in items {
                guard let status = try ask(item, server) else { return (hits, false) }
                #expect(status == "200", "\(item)")
                if round > 0 { hits.insert(item) }
            }
            guard try waitForPulls(server) else { return (hits, false) }
        }
        return (hits, true)
    }

    /// Waits until no pull is in progress.
    /// - Returns: false when the server is gone.
    private func waitForPulls(_ server: OciRegistryProcess) throws -> Bool {
        let line = try server.process.line(containing: "metrics: http://", in: server.process.errors)
        for _ in 0..<2000 {
            let result = try Command.run(["curl", "--silent", String(line.components(after: "metrics: "))])
            guard result.status == 0 else { return false }
            if Scrape(result.text)["ociregistry_pulls_in_flight{kind=\"blob\"}"] == 0 { return true }
        }
        Issue.record("a pull does not end")
        return false
    }

    private func expectProofs(of hits: Set<Item>, _ imagePath: String, _ place: String) throws {
        let server = try serve(imagePath, isAirGapped: true)
        for item in hits { #expect(try ask(item, server) == "200", "\(item) after \(place)") }
        for item in Self.items {
            let other = Item(host: "other.test", path: item.path)
            #expect(try ask(other, server) == "404", "\(other) after \(place)")
        }
        #expect(try server.stop() == 0)
    }

    @Test(
        "a kill at each operation on the index loses no proof that was relied on and invents none",
        arguments: [("before", false), ("amid", false), ("amid", true)])
    func kill(_ when: String, isRewritten: Bool) throws {
        let library = try Self.built.get().file("kill.so")
        var kills = 0
        for at in 1... {
            let cache = try TemporaryDirectory()
            if isRewritten { try fill(cache.path) }
            let server = try serve(
                cache.path, ["LD_PRELOAD": library, "KILL_AT": "\(at)", "KILL_WHEN": when])
            let (hits, isAlive) = try pull(server)
            if isAlive {
                #expect(hits.count == Self.items.count)
                #expect(try server.stop() == 0)
                break
            }
            kills += 1
            try #require(kills < 100, "there is no end of operations")
            try expectProofs(of: hits, cache.path, "operation \(at), \(when)")
        }
        #expect(kills > (isRewritten ? 6 : 4), "too few operations were seen")
    }

    /// Makes an index that is rewritten before anything is added to it.
    private func fill(_ imagePath: String) throws {
        let layout = Layout(imagePath: imagePath)
        try Disk.makeDirectories(layout.root, .none)
        var changes: [ProofChange] = []
        for _ in 0..<8000 {
            changes += [.add(Self.image.digest, repository: "other.test/team/app"), .removeContent(Self.image.digest)]
        }
        _ = try ProofFile.append(changes, after: ProofFile.State(), isSynced: false, layout)
    }
}
