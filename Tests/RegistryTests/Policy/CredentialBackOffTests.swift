// When credentials that were refused are sent again.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct CredentialBackOffTests {
    private static let wrong = UpstreamCredentials(user: "me", password: "old")
    private static let service = CredentialBackOff.Service.tokenService("https://auth.example:443")

    private static func name(_ text: String) throws -> RepositoryName { try #require(RepositoryName(text)) }

    @Test("a token service's 401 pauses the credentials for all repositories, longer each time")
    func authentication() throws {
        var state = CredentialBackOff()
        let (one, other) = (try Self.name("one"), try Self.name("other"))
        var now: UInt64 = 0
        for seconds: UInt64 in [1, 2, 4, 8, 16, 32, 60, 60] {
            #expect(state.admits(Self.wrong, to: Self.service, for: one, now: now) == true)
            let pause = state.refused(
                Self.wrong, by: Self.service, for: one, isAuthentication: true, askedMilliseconds: now, now: now + 5)
            #expect(pause == seconds * 1000)
            now += 5
            for name in [one, other] {
                #expect(state.admits(Self.wrong, to: Self.service, for: name, now: now) == false)
                #expect(state.denyingService(of: Self.wrong, for: name, now: now) == Self.service)
            }
            #expect(state.admits(Self.wrong, to: .registry, for: one, now: now) == true)
            now += seconds * 1000
            #expect(state.denyingService(of: Self.wrong, for: one, now: now) == nil)
        }
    }

    @Test("one request is tried when the pause is over, and its success ends the back-off")
    func probe() throws {
        var state = CredentialBackOff()
        let one = try Self.name("one")
        _ = state.refused(
            Self.wrong, by: Self.service, for: one, isAuthentication: true, askedMilliseconds: 0, now: 0)
        #expect(state.isProven(Self.wrong, at: Self.service) == false)
        #expect(state.admits(Self.wrong, to: Self.service, for: one, now: 1_000) == true)
        #expect(state.admits(Self.wrong, to: Self.service, for: one, now: 1_001) == false)
        state.accepted(Self.wrong, by: Self.service, for: one)
        #expect(state.isProven(Self.wrong, at: Self.service) == true)
        for now: UInt64 in 1_002..<1_010 {
            #expect(state.admits(Self.wrong, to: Self.service, for: one, now: now) == true)
        }
        let pause = state.refused(
            Self.wrong, by: Self.service, for: one, isAuthentication: true, askedMilliseconds: 2_000, now: 2_000)
        #expect(pause == 1_000)
    }

    @Test("requests that were sent before the pause do not double it")
    func burst() throws {
        var state = CredentialBackOff()
        let one = try Self.name("one")
        for asked: UInt64 in 0..<40 {
            let pause = state.refused(
                Self.wrong, by: Self.service, for: one, isAuthentication: true, askedMilliseconds: asked, now: 50)
            #expect(pause == (asked == 0 ? 1_000 : nil))
        }
    }

    @Test("a repository's refusal pauses that repository, and refusals of three pause the credentials")
    func repositories() throws {
        var state = CredentialBackOff()
        let names = try ["a", "b", "c", "d"].map { try Self.name($0) }
        func refuse(_ name: RepositoryName, at now: UInt64) -> UInt64? {
            state.refused(
                Self.wrong, by: .registry, for: name, isAuthentication: false, askedMilliseconds: now, now: now)
        }
        #expect(refuse(names[0], at: 0) == 1_000)
        #expect(state.admits(Self.wrong, to: .registry, for: names[0], now: 10) == false)
        #expect(state.denyingService(of: Self.wrong, for: names[0], now: 10) == .registry)
        #expect(state.admits(Self.wrong, to: .registry, for: names[1], now: 10) == true)
        #expect(refuse(names[0], at: 1_000) == 2_000)
        #expect(refuse(names[1], at: 1_000) == 1_000)
        #expect(state.admits(Self.wrong, to: .registry, for: names[3], now: 1_100) == true)
        // One that is accepted shows that the credentials are right.
        state.accepted(Self.wrong, by: .registry, for: names[3])
        #expect(refuse(names[2], at: 1_200) == 1_000)
        #expect(state.admits(Self.wrong, to: .registry, for: names[3], now: 1_300) == true)
        #expect(refuse(names[0], at: 4_000) == 4_000)
        #expect(refuse(names[1], at: 4_000) == 1_000)
        #expect(state.admits(Self.wrong, to: .registry, for: names[3], now: 4_100) == false)
    }

    @Test("changed credentials are not paused")
    func changed() throws {
        var state = CredentialBackOff()
        let one = try Self.name("one")
        _ = state.refused(
            Self.wrong, by: Self.service, for: one, isAuthentication: true, askedMilliseconds: 0, now: 0)
        let fresh = UpstreamCredentials(user: "me", password: "new")
        #expect(state.admits(fresh, to: Self.service, for: one, now: 1) == true)
        #expect(state.denyingService(of: Self.wrong, for: one, now: 1) == nil)
    }

    @Test("the number of remembered services and repositories is bounded")
    func bounded() throws {
        var state = CredentialBackOff()
        for number in 0..<4 * CredentialBackOff.maximumServices {
            let service = CredentialBackOff.Service.tokenService("https://s\(number).example:443")
            _ = state.refused(
                Self.wrong, by: service, for: try Self.name("one"), isAuthentication: true, askedMilliseconds: 0,
                now: UInt64(number))
        }
        #expect(state.serviceCount == CredentialBackOff.maximumServices)
        // The one whose pause ends last is among those that are remembered.
        let number = 4 * CredentialBackOff.maximumServices - 1
        let last = CredentialBackOff.Service.tokenService("https://s\(number).example:443")
        #expect(state.admits(Self.wrong, to: last, for: try Self.name("one"), now: 100) == false)
    }
}
