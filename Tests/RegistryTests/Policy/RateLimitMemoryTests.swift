// How long a repository is paused after a 429, and which Retry-After clients get.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct RateLimitMemoryTests {
    private static func repository(_ name: String, host: String = "a.example") throws -> UpstreamRepository {
        UpstreamRepository(
            host: try #require(RegistryHost(host)), repository: try #require(RepositoryName(name)))
    }

    @Test("pauses double from one second to a minute, and a response resets them")
    func doubling() throws {
        var memory = RateLimitMemory()
        let one = try Self.repository("team/app")
        var now: UInt64 = 5_000
        for seconds: UInt64 in [1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: now, now: now + 10)
            #expect(pause == seconds * 1000)
            now += 10
            #expect(memory.pauseEnd(one, now: now) == now + seconds * 1000)
            now += seconds * 1000
            #expect(memory.pauseEnd(one, now: now) == nil)
        }
        memory.answered(one, askedMilliseconds: now)
        #expect(memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: now, now: now) == 1000)
    }

    @Test("only the repository that was refused is paused")
    func scope() throws {
        var memory = RateLimitMemory()
        let one = try Self.repository("team/app")
        _ = memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: 0, now: 1)
        #expect(memory.pauseEnd(one, now: 1) != nil)
        #expect(memory.pauseEnd(try Self.repository("team/other"), now: 1) == nil)
        #expect(memory.pauseEnd(try Self.repository("team/app", host: "b.example"), now: 1) == nil)
    }

    @Test("requests that were sent before the pause neither double nor reset it")
    func burst() throws {
        var memory = RateLimitMemory()
        let one = try Self.repository("team/app")
        #expect(memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: 100, now: 110) == 1000)
        for _ in 0..<10 {
            #expect(memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: 105, now: 120) == nil)
        }
        memory.answered(one, askedMilliseconds: 110)
        #expect(memory.pauseEnd(one, now: 120) == 1110)
        // Such an answer may come after the pause as well.
        #expect(memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: 109, now: 3000) == nil)
        #expect(memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: 1200, now: 3000) == 2000)
    }

    @Test("a pause named by the upstream is kept, an hour at most")
    func named() throws {
        var memory = RateLimitMemory()
        let one = try Self.repository("team/app")
        #expect(memory.refused(one, retryAfterSeconds: 10, askedMilliseconds: 0, now: 0) == 10_000)
        #expect(memory.retryAfterSeconds(one, now: 0) == 10)
        #expect(memory.retryAfterSeconds(one, now: 9_001) == 1)
        #expect(memory.retryAfterSeconds(one, now: 10_000) == nil)
        // A longer time of the same burst counts, a shorter one does not.
        #expect(memory.refused(one, retryAfterSeconds: 30, askedMilliseconds: 0, now: 100) == nil)
        #expect(memory.refused(one, retryAfterSeconds: 1, askedMilliseconds: 0, now: 100) == nil)
        #expect(memory.pauseEnd(one, now: 100) == 30_100)
        #expect(memory.refused(one, retryAfterSeconds: .max, askedMilliseconds: 40_000, now: 40_000) == 3_600_000)
        // Named times do not count as steps, and 0 names none.
        let other = try Self.repository("team/other")
        #expect(memory.refused(other, retryAfterSeconds: 5, askedMilliseconds: 0, now: 1) == 5_000)
        #expect(memory.refused(other, retryAfterSeconds: 0, askedMilliseconds: 6_000, now: 6_001) == 1_000)
        #expect(memory.refused(other, retryAfterSeconds: -7, askedMilliseconds: 8_000, now: 8_001) == 2_000)
    }

    @Test("an unnamed pause is announced to clients when it ends within two seconds")
    func announced() throws {
        var memory = RateLimitMemory()
        let one = try Self.repository("team/app")
        #expect(memory.retryAfterSeconds(one, now: 0) == nil)
        _ = memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: 0, now: 0)
        #expect(memory.retryAfterSeconds(one, now: 0) == 1)
        _ = memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: 1_000, now: 1_000)
        #expect(memory.retryAfterSeconds(one, now: 1_000) == 1)
        _ = memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: 3_000, now: 3_000)
        #expect(memory.retryAfterSeconds(one, now: 3_000) == nil)
        #expect(memory.retryAfterSeconds(one, now: 5_000) == 1)
    }

    @Test("after a pause, requests are let through one at a time until one succeeds")
    func probes() throws {
        var memory = RateLimitMemory()
        let one = try Self.repository("team/app")
        #expect(memory.takeTry(one, now: 0) == true)
        #expect(memory.takeTry(one, now: 0) == true)
        _ = memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: 0, now: 0)
        #expect(memory.takeTry(one, now: 999) == false)
        #expect(memory.nextTry(one, now: 999) == 1_000)
        #expect(memory.takeTry(one, now: 1_000) == true)
        #expect(memory.takeTry(one, now: 1_001) == false)
        // An answer that never comes delays others no longer than this.
        #expect(memory.nextTry(one, now: 1_001) == 2_000)
        #expect(memory.takeTry(one, now: 2_000) == true)
        memory.answered(one, askedMilliseconds: 2_000)
        #expect(memory.takeTry(one, now: 2_001) == true)
        #expect(memory.takeTry(one, now: 2_001) == true)
    }

    @Test("a pause is forgotten a minute after its end")
    func forgotten() throws {
        var memory = RateLimitMemory()
        let one = try Self.repository("team/app")
        for step: UInt64 in 0..<3 {
            _ = memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: step * 10_000, now: step * 10_000)
        }
        #expect(memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: 30_000, now: 30_000) == 8_000)
        #expect(memory.takeTry(one, now: 98_000) == true)
        #expect(memory.count == 0)
        _ = memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: 98_000, now: 98_000)
        #expect(memory.refused(one, retryAfterSeconds: nil, askedMilliseconds: 159_001, now: 159_001) == 1_000)
    }

    @Test("the number of repositories is bounded, and expired pauses are removed first")
    func bounded() throws {
        var memory = RateLimitMemory()
        let kept = try Self.repository("kept")
        _ = memory.refused(kept, retryAfterSeconds: 600, askedMilliseconds: 0, now: 0)
        for number in 0..<3 * RateLimitMemory.maximumRepositories {
            let now = UInt64(number) * 2
            _ = memory.refused(
                try Self.repository("r\(number)"), retryAfterSeconds: nil, askedMilliseconds: now, now: now)
        }
        #expect(memory.count <= RateLimitMemory.maximumRepositories)
        #expect(memory.pauseEnd(kept, now: 30_000) == 600_000)
        #expect(memory.secondsLeft(now: 30_000)[kept.host] == 570)
        // With none that is over, the one that ends first makes room.
        var full = RateLimitMemory()
        for number in 0...RateLimitMemory.maximumRepositories {
            _ = full.refused(
                try Self.repository("r\(number)"), retryAfterSeconds: 100 + number, askedMilliseconds: 0, now: 0)
        }
        #expect(full.count == RateLimitMemory.maximumRepositories)
        #expect(full.pauseEnd(try Self.repository("r0"), now: 0) == nil)
        #expect(full.pauseEnd(try Self.repository("r1"), now: 0) != nil)
    }
}
