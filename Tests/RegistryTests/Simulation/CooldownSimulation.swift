// Seeded schedules of a tag under cooldown: upstreams that move it, clocks that are set and lost, crashes that lose
// what was not on the disk, approvals. Whatever happens, no image is served too early, and none that was served is
// lost.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct CooldownSimulation {
    /// Schedules of one run; more by the environment.
    private static let schedules =
        ProcessInfo.processInfo.environment["COOLDOWN_SCHEDULES"].flatMap { Int($0) } ?? 6000
    private static let tag = "a.test/b:v1"
    private static let images = (0..<6).map { digestOf([UInt8($0)]) }

    /// The cache of one process after another, with what its file has.
    private struct Cache {
        var ledger = CooldownLedger()
        var clock: CooldownClock
        var served: Digest?
        /// Changes that are not on the disk yet.
        var unwritten: [LedgerChange] = []
        var file: [LedgerChange] = []
        var writtenServed: Digest?

        mutating func record(_ change: LedgerChange) {
            ledger.apply(change)
            unwritten.append(change)
        }

        /// - Parameter isRepeated: whether a first attempt failed when all lines were in the file.
        mutating func write(isRepeated: Bool = false) {
            if isRepeated { file += unwritten }
            file += unwritten + [.reached(seconds: clock.reachedSeconds)]
            unwritten = []
            writtenServed = served
        }

        /// The process begins anew with what is on the disk.
        mutating func restart(_ reading: CooldownClock.Reading) {
            ledger = CooldownLedger()
            for change in file {
                // Through the text of its line.
                LedgerLine.format(change).dropLast().withUnsafeBytes { line in
                    if let read = LedgerLine.parse(line) { ledger.apply(read) }
                }
            }
            unwritten = []
            served = writtenServed
            clock = CooldownClock(reading, reachedSeconds: ledger.reachedSeconds)
        }

        /// As the store does before each use of the clock.
        mutating func follow(_ reading: CooldownClock.Reading, _ cooldown: Int64) {
            let jump = clock.follow(reading)
            guard jump > 0 else { return }
            record(.moved(seconds: jump, since: max(0, clock.reachedSeconds - cooldown), number: ledger.moves + 1))
            // The store writes within milliseconds.
            write(isRepeated: jump % 2 == 0)
        }

        mutating func now(_ reading: CooldownClock.Reading) -> Int64 {
            clock.present(reading, newestSeconds: ledger.newestSeconds)
        }
    }

    /// Real time, the two clocks, and what the world knows.
    private struct World {
        var random: SeededRandom
        var real: Int64 = 1_800_000_000
        var boot: Int64 = 1_800_000_000
        /// Real time minus the system's clock.
        var wallError: Int64 = 0
        var upstream = CooldownSimulation.images[0]
        /// When the cache first learned of each image, in real time.
        var learned: [Digest: Int64] = [:]
        var approved: Set<Digest> = []
        var hasServed: Set<Digest> = []
        /// The same when the cache last wrote its file.
        var writtenServed: Set<Digest> = []

        var reading: CooldownClock.Reading {
            .init(wallSeconds: real - wallError, monotonicSeconds: real - boot)
        }

        mutating func below(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }
    }

    /// What TagChecks and Cooldown do with a request for the tag.
    private static func request(_ cache: inout Cache, _ world: inout World, _ cooldown: Int64) -> Digest? {
        let newest = world.upstream
        cache.follow(world.reading, cooldown)
        if world.learned[newest] == nil { world.learned[newest] = world.real }
        let stamp = cache.clock.stamp(world.reading)
        let (choice, changes) = cache.ledger.choose(
            tag, means: newest, cooldownSeconds: cooldown, now: cache.now(world.reading), stamp: stamp)
        for change in changes { cache.record(change) }
        switch choice {
        case .newest: cache.served = newest
        case .older(let older): cache.served = older
        case .none: break
        }
        if choice != .none, let served = cache.served, let change = cache.ledger.changeWhenServed(served, by: tag) {
            cache.record(change)
        }
        return cache.served.flatMap {
            cache.ledger.isOver($0, cooldownSeconds: cooldown, now: cache.now(world.reading)) ? $0 : nil
        }
    }

    private static func write(_ cache: inout Cache, _ world: inout World) {
        cache.write(isRepeated: world.below(3) == 0)
        world.writtenServed = world.hasServed
    }

    private static func run(_ seed: UInt64) -> String? {
        var world = World(random: SeededRandom(seed: seed))
        var cache = Cache(clock: CooldownClock(world.reading, reachedSeconds: 0))
        let cooldown = Int64([3600, 86_400, 259_200][world.below(3)])
        for step in 0..<40 {
            world.real += Int64(world.below(Int(cooldown) / 3))
            switch world.below(12) {
            case 0, 1: world.upstream = images[world.below(images.count)]
            case 2: write(&cache, &world)
            case 3:
                // A clock that is ahead when a process starts is a jump while nothing ran, which nobody can see.
                if world.wallError < 0 { world.wallError = 0 }
                if world.below(2) == 0 { write(&cache, &world) }
                if world.below(3) == 0 { world.boot = world.real }
                cache.restart(world.reading)
                world.hasServed = world.writtenServed
            case 4: world.wallError = Int64(world.below(400_000))
            case 5: world.wallError = -Int64(world.below(400_000))
            case 6: world.wallError = world.real - Int64(world.below(1_000_000))
            case 7, 8: world.wallError = 0
            case 9 where world.below(4) == 0:
                world.approved.insert(world.upstream)
                cache.record(.approved(world.upstream))
                // The command answers when that is on the disk.
                write(&cache, &world)
            default: break
            }
            guard let digest = request(&cache, &world, cooldown) else {
                // What was served stays served while the tag means it.
                if let served = cache.served, world.hasServed.contains(served) {
                    return "seed \(seed), step \(step): an image that was served is lost"
                }
                continue
            }
            world.hasServed.insert(digest)
            let waited = world.real - (world.learned[digest] ?? .max)
            // Corrections of the clock below this are not made up for.
            if waited < cooldown - 2 * CooldownClock.slackSeconds, !world.approved.contains(digest) {
                return "seed \(seed), step \(step): served after \(waited) of \(cooldown) s"
            }
        }
        return nil
    }

    @Test("no schedule serves an image before its wait is over, or loses one that was served") func schedules() {
        for seed in 0..<Self.schedules {
            guard let problem = Self.run(UInt64(seed)) else { continue }
            Issue.record("\(problem)")
            return
        }
    }
}
