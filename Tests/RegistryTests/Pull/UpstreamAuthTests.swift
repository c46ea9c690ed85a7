// Who gets the credentials of an upstream, and which upstreams are asked at all, over real sockets.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct UpstreamAuthTests {
    private static let basic = "Basic bWU6czNjcmV0"

    @Test("credentials are sent to a token realm on the registry's own host") func ownRealm() throws {
        let kit = try UpstreamKit { _, config, _ in config.auth = UpstreamKit.auth }
        kit.requireTokens()
        #expect(kit.ask().failure == nil)
        #expect(kit.fake.requests.map { $0.header("authorization") } == [nil, Self.basic, "Bearer t1"])
        kit.run.close()
    }

    @Test("credentials are not sent to another host's realm, and the error suggests auth.tokenRealm")
    func foreignRealm() throws {
        var stranger: FakeUpstream?
        let kit = try UpstreamKit { fake, config, _ in
            config.auth = UpstreamKit.auth
            // 127.0.0.2 may be asked at all only since configuration names it.
            let other = FakeUpstream(on: fake.loop, address: "127.0.0.2")
            other.answer = { _ in .token("anonymous") }
            config.auth?.tokenRealm = "127.0.0.2:1"
            stranger = other
        }
        let other = try #require(stranger)
        kit.run.atClose { other.close() }
        kit.fake.answer = { _ in .challenge(realm: "http://127.0.0.2:\(other.port)/token") }
        let record = kit.ask()
        #expect(other.requests.map { $0.header("authorization") } == [nil])
        #expect(record.head?.status == 401)
        let error = try #require(
            record.head.flatMap { UpstreamAnswer.error(for: $0, kind: .blob, host: UpstreamKit.host) })
        #expect(error.status == 403)
        #expect(error.detail?.contains("auth.tokenRealm to 127.0.0.2:\(other.port)") == true)
        kit.run.close()
    }

    @Test("credentials are sent to the configured token realm") func configuredRealm() throws {
        var realm: FakeUpstream?
        let kit = try UpstreamKit { fake, config, _ in
            let other = FakeUpstream(on: fake.loop, address: "127.0.0.2")
            other.answer = { _ in .token("t") }
            config.auth = UpstreamKit.auth
            config.auth?.tokenRealm = "127.0.0.2:\(other.port)"
            realm = other
        }
        let other = try #require(realm)
        kit.run.atClose { other.close() }
        kit.fake.answer = { request in
            request.header("authorization") == "Bearer t"
                ? .ok([1]) : .challenge(realm: "http://127.0.0.2:\(other.port)/token")
        }
        #expect(kit.ask().body == [1])
        #expect(other.requests.map { $0.header("authorization") } == [Self.basic])
        kit.run.close()
    }

    @Test("a loopback token realm without configuration is refused") func localRealm() throws {
        let kit = try UpstreamKit()
        kit.fake.answer = { [unowned fake = kit.fake] _ in .challenge(realm: "http://localhost:\(fake.port)/token") }
        #expect(kit.ask().refusal?.status == 403)
        #expect(kit.fake.requests.count == 1)
        kit.run.close()
    }

    @Test("a Basic challenge is answered once, and credentials are sent with later requests")
    func basicChallenge() throws {
        let kit = try UpstreamKit { _, config, _ in config.auth = UpstreamKit.auth }
        kit.fake.answer = { request in
            request.header("authorization") == Self.basic
                ? .ok([1]) : .status(401, [("WWW-Authenticate", "Basic realm=\"Registry\"")])
        }
        #expect(kit.ask().body == [1])
        #expect(kit.ask().body == [1])
        #expect(kit.fake.requests.map { $0.header("authorization") } == [nil, Self.basic, Self.basic])
        kit.run.close()
    }

    @Test("a Basic challenge without credentials is a 401 that suggests auth.user")
    func basicWithoutCredentials() throws {
        let kit = try UpstreamKit()
        kit.fake.answer = { _ in .status(401, [("WWW-Authenticate", "Basic realm=\"Registry\"")]) }
        let record = kit.ask()
        #expect(record.head?.status == 401)
        #expect(record.head?.deniedHint?.contains("auth.user") == true)
        #expect(kit.fake.requests.count == 1)
        kit.run.close()
    }

    @Test("a thousand upstreams leave configured ones and Docker Hub with their own addresses")
    func manyUpstreams() throws {
        let kit = try UpstreamKit()
        for number in 0..<1000 {
            let host = try #require(RegistryHost("r\(number).test"))
            #expect(kit.client.upstream(for: host).endpoints[0].base.text == "https://r\(number).test/")
        }
        #expect(kit.client.upstream(for: UpstreamKit.host).endpoints[0].base.port == kit.fake.port)
        #expect(kit.client.upstream(for: .dockerHub).endpoints[0].base.host == "registry-1.docker.io")
        kit.run.close()
    }

    @Test(
        "a local upstream without configuration is refused with 403",
        arguments: ["localhost", "127.0.0.1:5000", "[::1]:5000", "169.254.169.254", "0.0.0.0"])
    func localUpstream(name: String) throws {
        let kit = try UpstreamKit()
        let host = try #require(RegistryHost(name))
        #expect(kit.ask(host: host).refusal?.status == 403)
        kit.run.close()
    }

    @Test("an upstream with an invalid address fails") func invalidHost() throws {
        let kit = try UpstreamKit()
        let host = try #require(RegistryHost("[::::]"))
        #expect(kit.ask(host: host).failure != nil)
        kit.run.close()
    }

    @Test("an upstream whose name does not resolve is unreachable") func unresolvableName() throws {
        let kit = try UpstreamKit()
        let host = try #require(RegistryHost("no-such-host.invalid"))
        #expect(kit.ask(host: host).failureKind == .unreachable)
        // Leaving in mid-lookup waits for nobody.
        let (record, exchange) = kit.start(host: host)
        kit.run.run(milliseconds: 5)
        exchange.cancel()
        #expect(!record.isEnded)
        kit.run.close()
    }
}
