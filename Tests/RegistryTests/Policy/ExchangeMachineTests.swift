// Every way an exchange can take, without a socket.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct ExchangeMachineTests {
    private typealias Machine = ExchangeMachine

    private static let home = "https://registry.a/v2/x/blobs/y"

    private static func url(_ text: String) throws -> UpstreamURL { try #require(UpstreamURL(text)) }

    private static func machine(
        credentials: Machine.Credentials = .none, base: String = "https://registry.a", ping: String? = nil
    )
        throws -> Machine
    {
        let base = try url(base)
        let trust = UpstreamTrust(name: base.host, base: base, isConfigured: true)
        return Machine(
            host: try #require(RegistryHost("registry.a")), trust: trust, url: try url(home),
            repository: try #require(RepositoryName("x")), credentials: credentials,
            pingURL: try ping.map { try url($0) })
    }

    private static func bearer(realm: String, scope: String? = nil) throws -> Machine.Event {
        let scopeText = scope.map { ",scope=\"\($0)\"" } ?? ""
        return .answer(
            Machine.Answer(
                status: 401, challenge: BearerChallenge.parse(["Bearer realm=\"\(realm)\",service=\"s\"\(scopeText)"]),
                realm: UpstreamURL(realm)))
    }

    private static func send(_ text: String, _ authorization: Machine.Authorization) throws -> Machine.Action {
        .send(try url(text), authorization, afterMilliseconds: 0)
    }

    private static let basic = Machine.Event.answer(
        Machine.Answer(status: 401, challenge: BearerChallenge.parse(["Basic realm=\"r\""])))

    private static func redirect(_ to: String) -> Machine.Event {
        .answer(Machine.Answer(status: 307, hasLocation: true, location: UpstreamURL(to)))
    }

    private static func asks(_ action: Machine.Action) -> TokenRequest? {
        if case .askToken(let request, _) = action { request } else { nil }
    }

    @Test("a response without a challenge is delivered") func plainAnswer() throws {
        var machine = try Self.machine()
        #expect(machine.handle(.begin(authorization: nil)) == (try Self.send(Self.home, .none)))
        #expect(machine.handle(.answer(.init(status: 200))) == .deliver(deniedHint: nil))
    }

    @Test("a ping that fails is sent again, and its 429 is delivered") func failedPing() throws {
        let address = "https://registry.a/v2/"
        var machine = try Self.machine(ping: address)
        _ = machine.handle(.begin(authorization: nil))
        #expect(machine.handle(.answer(.init(status: 401))) == (try Self.send(address, .none)))
        let unreachable = TransferFailure(kind: .unreachable, reason: "r", hadAnswer: false)
        let again = Machine.Action.send(
            try Self.url(address), .none, afterMilliseconds: Machine.retryDelayMilliseconds)
        #expect(machine.handle(.failed(unreachable)) == again)
        #expect(machine.handle(.answer(.init(status: 429))) == .deliver(deniedHint: nil))
    }

    @Test("a Bearer challenge fetches a token for its scope, and the request is sent again with it")
    func token() throws {
        var machine = try Self.machine()
        _ = machine.handle(.begin(authorization: nil))
        let asked = Self.asks(
            machine.handle(try Self.bearer(realm: "https://registry.a/token", scope: "repository:x:pull a:b:c")))
        #expect(asked?.scope == "repository:x:pull a:b:c")
        #expect(asked?.service == "s")
        #expect(asked?.withCredentials == false)
        #expect(machine.handle(.token("t", isFresh: true)) == (try Self.send(Self.home, .bearer("t"))))
        #expect(machine.handle(.answer(.init(status: 404))) == .deliver(deniedHint: nil))
    }

    @Test("the scope is the repository's pull scope where the challenge has none") func defaultScope() throws {
        var machine = try Self.machine(credentials: .password)
        _ = machine.handle(.begin(authorization: nil))
        let asked = Self.asks(machine.handle(try Self.bearer(realm: "https://registry.a/token")))
        #expect(asked?.scope == "repository:x:pull")
        #expect(asked?.withCredentials == true)
    }

    @Test("a refused cached token is replaced once, and a refused fresh token is final") func refusedTokens() throws {
        var machine = try Self.machine()
        #expect(machine.handle(.begin(authorization: .bearer("old"))) == (try Self.send(Self.home, .bearer("old"))))
        guard case .askToken(_, "old") = machine.handle(try Self.bearer(realm: "https://registry.a/token")) else {
            Issue.record("does not ask")
            return
        }
        #expect(machine.handle(.token("new", isFresh: true)) == (try Self.send(Self.home, .bearer("new"))))
        #expect(machine.handle(try Self.bearer(realm: "https://registry.a/token")) == .deliver(deniedHint: nil))
    }

    @Test("the number of refused tokens per request is bounded") func tokenLimit() throws {
        var machine = try Self.machine()
        _ = machine.handle(.begin(authorization: .bearer("0")))
        for number in 1...Machine.maximumTokens {
            #expect(Self.asks(machine.handle(try Self.bearer(realm: "https://registry.a/token"))) != nil)
            _ = machine.handle(.token("\(number)", isFresh: false))
        }
        #expect(machine.handle(try Self.bearer(realm: "https://registry.a/token")) == .deliver(deniedHint: nil))
    }

    @Test("credentials are not sent to a foreign realm, and the error suggests auth.tokenRealm")
    func foreignRealm() throws {
        var machine = try Self.machine(credentials: .password)
        _ = machine.handle(.begin(authorization: nil))
        #expect(Self.asks(machine.handle(try Self.bearer(realm: "https://stranger.b/token")))?.withCredentials == false)
        var refused = machine
        let denied = UpstreamAnswer.denied(try #require(RegistryHost("registry.a")), status: 401, hint: nil)
        guard case .fail(.refused(let error)) = refused.handle(.tokenFailed(.refused(denied))) else {
            Issue.record("does not fail")
            return
        }
        #expect(error.detail?.contains("auth.tokenRealm to stranger.b") == true)
        _ = machine.handle(.token("anonymous", isFresh: true))
        guard case .deliver(let hint?) = machine.handle(try Self.bearer(realm: "https://stranger.b/token")) else {
            Issue.record("no hint")
            return
        }
        #expect(hint.contains("auth.tokenRealm to stranger.b"))
    }

    @Test(
        "an invalid, plain-text or local realm is refused",
        arguments: ["http://other.a/token", "https://127.0.0.1/token", "nonsense", "https://u:p@registry.a/token"])
    func badRealms(realm: String) throws {
        var machine = try Self.machine()
        _ = machine.handle(.begin(authorization: nil))
        guard case .fail(let failure) = machine.handle(try Self.bearer(realm: realm)) else {
            Issue.record("not refused")
            return
        }
        #expect(failure.registryError(host: .dockerHub).status == 403)
    }

    @Test("a Basic challenge is answered once, and only with configured credentials") func basicChallenge() throws {
        var with = try Self.machine(credentials: .password)
        _ = with.handle(.begin(authorization: nil))
        #expect(with.handle(Self.basic) == (try Self.send(Self.home, .basic)))
        guard case .deliver(.some) = with.handle(Self.basic) else {
            Issue.record("asks for ever")
            return
        }
        var without = try Self.machine()
        _ = without.handle(.begin(authorization: nil))
        guard case .deliver(.some) = without.handle(Self.basic) else {
            Issue.record("no hint")
            return
        }
    }

    @Test("credentials are dropped for good once a redirect leaves the origin") func redirectedAuthorization() throws {
        var machine = try Self.machine(credentials: .password)
        _ = machine.handle(.begin(authorization: .basic))
        #expect(
            machine.handle(Self.redirect("https://registry.a/2")) == (try Self.send("https://registry.a/2", .basic)))
        #expect(machine.handle(Self.redirect("https://cdn.b/3")) == (try Self.send("https://cdn.b/3", .none)))
        // Back again: still nothing, and a 401 there is an answer, not a question.
        #expect(machine.handle(Self.redirect("https://registry.a/4")) == (try Self.send("https://registry.a/4", .none)))
        #expect(machine.handle(Self.basic) == .deliver(deniedHint: nil))
    }

    @Test("at most ten redirects are followed") func redirectLimit() throws {
        var machine = try Self.machine()
        _ = machine.handle(.begin(authorization: nil))
        for hop in 1...10 {
            #expect(
                machine.handle(Self.redirect("https://registry.a/\(hop)"))
                    == (try Self.send("https://registry.a/\(hop)", .none)))
        }
        guard case .fail(.refused) = machine.handle(Self.redirect("https://registry.a/11")) else {
            Issue.record("follows for ever")
            return
        }
        var lost = try Self.machine()
        _ = lost.handle(.begin(authorization: nil))
        #expect(lost.handle(.answer(.init(status: 302))) == .deliver(deniedHint: nil))
    }

    @Test("a connection that fails without a response is retried once; a timeout is not") func retry() throws {
        let kinds: [(TransferFailure.Kind, Bool, Bool)] = [
            (.unreachable, false, true), (.broken, false, true), (.broken, true, false), (.timedOut, false, false),
            (.untrusted, false, false), (.refusedAddress, false, false),
        ]
        for (kind, hadAnswer, retries) in kinds {
            var machine = try Self.machine()
            _ = machine.handle(.begin(authorization: .bearer("t")))
            let failure = TransferFailure(kind: kind, reason: "r", hadAnswer: hadAnswer)
            let again = Machine.Action.send(
                try Self.url(Self.home), .bearer("t"), afterMilliseconds: Machine.retryDelayMilliseconds)
            #expect((machine.handle(.failed(failure)) == again) == retries, "\(kind)")
            guard case .fail = machine.handle(.failed(failure)) else {
                Issue.record("\(kind) retries for ever")
                return
            }
        }
    }

    @Test("a loopback upstream without configuration is refused before any request") func localUpstream() throws {
        let base = try Self.url("https://127.0.0.1:5000")
        let trust = UpstreamTrust(name: "127.0.0.1", base: base, isConfigured: false)
        var machine = Machine(
            host: try #require(RegistryHost("127.0.0.1:5000")), trust: trust, url: base,
            repository: try #require(RepositoryName("x")), credentials: .none)
        guard case .fail(.addressRefused(let reason)) = machine.handle(.begin(authorization: nil)) else {
            Issue.record("asked")
            return
        }
        #expect(reason == "its host is 127.0.0.1, a loopback, link-local or multicast address")
    }

    @Test("Basic credentials are encoded as in RFC 7617") func basicEncoding() {
        // RFC 7617 §2, and lengths of every remainder.
        #expect(
            UpstreamCredentials(user: "Aladdin", password: "open sesame").basic == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        #expect(Base64.encode("") == "")
        #expect(Base64.encode("f") == "Zg==")
        #expect(Base64.encode("fo") == "Zm8=")
        #expect(Base64.encode("foo") == "Zm9v")
        #expect(Base64.encode("test:123\u{A3}") == "dGVzdDoxMjPCow==")
    }
}
