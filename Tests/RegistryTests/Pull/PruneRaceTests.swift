// Prunes and evictions among pulls of the same images, by several clients, in an order that a seed decides, some
// thousand times. Whoever was given a manifest gets its blobs, no 200 breaks off, and after each round nothing cached
// is half an image. scripts/soak runs the same for longer (RACE_ROUNDS).

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct PruneRaceTests {
    private static let layerBytes = [3000, 9000]
    /// Room for so many images, of so many that are asked for: others have to leave all the time.
    private static let room = 6
    private static let imageCount = 12
    private static let pullsPerRound = 4
    private static let requestedRounds = ProcessInfo.processInfo.environment["RACE_ROUNDS"].flatMap { Int($0) }
    private static let rounds = requestedRounds ?? 60
    private static let roundsPerReport = 250

    /// One client: a manifest, then its blobs.
    private struct Pull {
        let blobs: [(TestClient, content: [UInt8])]

        func expectWhole(_ place: Comment) {
            for (client, content) in blobs {
                #expect(client.response.status == 200 && client.isComplete, place)
                #expect(client.response.body == content, place)
            }
        }
    }

    private final class Race {
        let mirror: MirrorKit
        let images: [FakeImage]
        var random: SeededRandom
        /// Prunes under way, and prunes begun.
        private(set) var (prunesRunning, prunes) = (0, 0)

        init(seed: UInt64, _ directory: TemporaryDirectory) throws {
            random = SeededRandom(seed: seed)
            images = (0..<imageCount).map { FakeImage(layerBytes: layerBytes, seed: UInt64(3000 + $0)) }
            let imageBytes = images.map { $0.manifest.count + $0.blobs.map(\.count).reduce(0, +) }.max() ?? 0
            mirror = try MirrorKit {
                $0.imagePath = directory.path
                $0.limits.budget.maxBytes = Int64(room * imageBytes)
                // Every second race has its manifests read from the disk again and again.
                if seed % 2 == 0 { $0.limits.manifestMemoryBytes = 4000 }
            }
            mirror.wait(until: { [mirror] in mirror.store.isRecovered })
            for (number, image) in images.enumerated() { image.put(on: mirror.fake, tag: "v\(number)") }
        }

        func chance(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }

        func prune() {
            prunes += 1
            prunesRunning += 1
            // Few of them, mostly: what prunes leave has to be evicted.
            let (place, isAll) = (chance(imageCount), chance(16) == 0)
            mirror.store.prune(
                selecting: { isAll || $0.name.hasSuffix(":v\(place)") }, orphanAge: chance(4) == 0 ? OrphanAge() : nil,
                reporting: { _ in }
            ) { [self] _ in prunesRunning -= 1 }
        }

        func pull(_ number: Int, _ place: Comment) -> Pull {
            let manifest = mirror.get("/v2/team/app/manifests/v\(number)")
            #expect(manifest.status == 200 && manifest.body == images[number].manifest, place)
            // From here on its blobs are owed, whatever is pruned meanwhile.
            for _ in 0..<chance(3) { prune() }
            return Pull(
                blobs: images[number].blobs.map { blob in
                    (mirror.start(.get("/v2/team/app/blobs/\(digestOf(blob))")), blob)
                })
        }

        /// The leases of all but two, at most, come to their end: with three images asked for in a round, room can
        /// always be made.
        func endLeases() {
            let kept = [chance(imageCount), chance(imageCount)]
            for (number, image) in images.enumerated() where !kept.contains(number) || chance(2) > 0 {
                mirror.store.endLease(of: image.digest)
            }
        }

        /// Manifests to blobs, in memory.
        func expectNoHalves(_ place: Comment) {
            mirror.settle()
            for image in images where mirror.store.manifests[image.digest] != nil {
                for blob in image.blobs { #expect(mirror.store.blobs[digestOf(blob)] != nil, place) }
            }
        }

        /// The same on disk, and that nothing there is anything else.
        func expectWholeOnDisk() throws {
            let layout = mirror.store.layout
            for image in images {
                let isThere = (try? Disk.status(at: layout.manifest(image.digest, .ociManifest))) != nil
                #expect(isThere == (mirror.store.manifests[image.digest] != nil))
                for blob in image.blobs {
                    let isBlobThere = (try? Disk.status(at: layout.blob(digestOf(blob)))) != nil
                    #expect(isBlobThere == (mirror.store.blobs[digestOf(blob)] != nil))
                }
            }
            #expect(mirror.inspectBlobs().wrong.isEmpty)
            #expect(try Disk.names(in: layout.partial).isEmpty)
        }
    }

    /// A long run reports its progress. Standard error is not buffered, so that the lines come while it runs.
    private static func reportProgress(of race: Race, seed: UInt64, roundsDone: Int) {
        guard requestedRounds != nil, roundsDone % roundsPerReport == 0 || roundsDone == rounds else { return }
        let evicted = race.mirror.store.removals.evictedImages
        let line = "seed \(seed): \(roundsDone) of \(rounds) rounds, \(race.prunes) prunes, \(evicted) images evicted\n"
        FileHandle.standardError.write(Data(line.utf8))
    }

    @Test("a client that got a manifest gets its blobs while prunes and evictions run", arguments: 1...8)
    func race(_ seed: UInt64) throws {
        // In memory where there is such a directory: what is raced here is the loop, not the disk.
        let directory = try TemporaryDirectory(under: access("/dev/shm", W_OK) == 0 ? "/dev/shm/" : nil)
        let race = try Race(seed: seed, directory)
        for round in 0..<Self.rounds {
            let place: Comment = "seed \(seed), round \(round)"
            let chosen = (0..<3).map { _ in race.chance(Self.imageCount) }
            let pulls = (0..<Self.pullsPerRound).map { _ in race.pull(chosen[race.chance(3)], place) }
            race.mirror.wait(for: pulls.flatMap { $0.blobs.map(\.0) })
            for pull in pulls { pull.expectWhole(place) }
            race.expectNoHalves(place)
            race.endLeases()
            Self.reportProgress(of: race, seed: seed, roundsDone: round + 1)
        }
        race.mirror.wait(until: { race.prunesRunning == 0 })
        race.expectNoHalves("at the end")
        try race.expectWholeOnDisk()
        #expect(race.mirror.store.removals.evictedImages > 0 && race.mirror.store.removals.prunedImages > 0)
        race.mirror.close()
    }
}
