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
        (["manifests/v1", "manifests/\(image.digest)"] + image.blobs.map { "blobs/\(digestOf($0))" }).map {
            Item(host: host, path: $0)
        }
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
            upstreams: upstreams, imagePath: imagePath, arguments: isAirGapped ? ["--air-gapped"] : [],
            settings: "registriesOnly: true\n", environment: environment)
    }

    /// The status of a request, and whether the answer came from the cache; nil when the server is gone.
    private func ask(_ item: Item, _ server: OciRegistryProcess) throws -> (status: String, isHit: Bool)? {
        let result = try Command.run([
            "curl", "--silent", "--max-time", "20", "--output", "/dev/null", "--write-out",
            "%{http_code} %header{x-ociregistry-cache}", "http://\(server.address)\(item.target)",
        ])
        let words = result.text.split(separator: " ")
        guard result.status == 0, let status = words.first else { return nil }
        return (String(status), words.count > 1 && words[1] == "hit")
    }

    /// Requests everything twice. Answers from the cache rely on proofs.
    /// - Returns: those, and whether the server still runs.
    private func pull(_ server: OciRegistryProcess) throws -> (hits: Set<Item>, isAlive: Bool) {
        var hits: Set<Item> = []
        for item in Self.items + Self.items {
            guard let (status, isHit) = try ask(item, server) else { return (hits, false) }
            #expect(status == "200", "\(item)")
            if isHit { hits.insert(item) }
        }
        return (hits, true)
    }

    private func expectProofs(of hits: Set<Item>, _ imagePath: String, _ place: String) throws {
        let server = try serve(imagePath, isAirGapped: true)
        for item in hits { #expect(try ask(item, server)?.status == "200", "\(item) after \(place)") }
        for item in Self.items {
            let other = Item(host: "other.test", path: item.path)
            #expect(try ask(other, server)?.status == "404", "\(other) after \(place)")
        }
        #expect(try server.stop() == 0)
    }

    @Test(
        "a kill at each operation on the index loses no proof that was relied on and invents none",
        arguments: ["before", "amid", "after"], [false, true])
    func kill(when: String, isRewritten: Bool) throws {
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
