// The exchange of an identity token for an access token, over real sockets: where it is sent, and where never.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct IdentityTokenTests {
    private static let form = IdentityTokenExchange.form(
        Secret("refresh"), service: "fake", scope: "repository:a:pull")

    /// A token service, and one fetch from it.
    private struct Kit {
        let run: LoopRun
        let fake: FakeUpstream
        let multi: CurlMulti
        let endpoint: UpstreamEndpoint

        init() throws {
            run = try LoopRun()
            fake = FakeUpstream(on: run.loop)
            multi = try #require(CurlMulti(on: run.loop))
            endpoint = Upstream(host: UpstreamKit.host, config: fake.config()).endpoints[0]
            run.atClose { [fake] in fake.close() }
            run.atClose { [multi] in multi.close() }
        }

        private func request(_ url: UpstreamURL) -> TransferRequest {
            var request = TransferRequest(
                url: url, addresses: AddressGuard(hostIsConfigured: true), noProgressMilliseconds: 20_000)
            request.isConfigured = true
            return request
        }

        /// Sends the exchange to `/token`.
        func fetch() throws -> (result: Result<TokenReply, UpstreamFailure>, deniedStatus: Int?) {
            var exchange = request(try #require(UpstreamURL("\(fake.url)/token")))
            exchange.method = .post
            exchange.headers = ["Accept: application/json", IdentityTokenExchange.contentTypeHeader]
            exchange.body = IdentityTokenTests.form
            var result: Result<TokenReply, UpstreamFailure>?
            let fetch = TokenFetch(
                exchange, endpoint: endpoint, loop: run.loop, redirect: { url, _ in request(url) },
                start: { Transfer($0, on: multi, loop: run.loop, handler: $1) }
            ) {
                result = $0
                run.finish()
            }
            run.run()
            return (try #require(result), fetch.deniedStatus)
        }
    }

    private static func error(_ result: Result<TokenReply, UpstreamFailure>) -> RegistryError? {
        if case .failure(.refused(let error)) = result { error } else { nil }
    }

    @Test("the form is posted, the access token is used, and a new refresh token is ignored")
    func exchange() throws {
        let kit = try Kit()
        kit.fake.on(
            "/token", .json("{\"access_token\":\"access\",\"expires_in\":300,\"refresh_token\":\"new\"}"))
        let (result, deniedStatus) = try kit.fetch()
        #expect(try result.get() == TokenReply(token: "access", expiresInSeconds: 300) && deniedStatus == nil)
        let asked = try #require(kit.fake.requests.first)
        #expect(asked.method == "POST" && asked.body == Self.form && asked.query == nil)
        #expect(asked.headers("content-type") == ["application/x-www-form-urlencoded"])
        #expect(asked.header("authorization") == nil)
        kit.run.close()
    }

    @Test("a redirect that keeps the method is followed to the same origin, with the form", arguments: [307, 308])
    func keptMethod(status: Int) throws {
        let kit = try Kit()
        kit.fake.on("/token", .redirect(to: "/other?x=1", status: status))
        kit.fake.on("/other", .json("{\"access_token\":\"access\"}"))
        #expect(try kit.fetch().result.get().token == "access")
        let last = try #require(kit.fake.requests.last)
        #expect(last.method == "POST" && last.path == "/other" && last.query == "x=1" && last.body == Self.form)
        #expect(last.headers("content-type") == ["application/x-www-form-urlencoded"])
        kit.run.close()
    }

    @Test("a redirect that makes it a GET is an error", arguments: [301, 302, 303])
    func changedMethod(status: Int) throws {
        let kit = try Kit()
        kit.fake.on("/token", .redirect(to: "/other", status: status))
        let error = try #require(Self.error(try kit.fetch().result))
        #expect(error.status == 403 && error.message.contains("identity token"))
        #expect(kit.fake.requests.map(\.path) == ["/token"])
        kit.run.close()
    }

    @Test("no redirect leads the identity token to another origin", arguments: [301, 302, 303, 307, 308])
    func otherOrigin(status: Int) throws {
        let kit = try Kit()
        // Another port of the same host, which the configuration names: a request may go there, the token may not.
        let other = FakeUpstream(on: kit.run.loop)
        kit.run.atClose { other.close() }
        kit.fake.on("/token", .redirect(to: "\(other.url)/token", status: status))
        #expect(Self.error(try kit.fetch().result)?.status == 403)
        #expect(other.requests.isEmpty && other.connectionCount == 0)
        kit.run.close()
    }

    @Test("redirects to the same origin end after a bounded number")
    func endlessRedirects() throws {
        let kit = try Kit()
        kit.fake.on("/token", .redirect(to: "/token", status: 307))
        #expect(Self.error(try kit.fetch().result)?.status == 403)
        #expect(kit.fake.requests.count == RedirectPolicy.maximumHops + 1)
        kit.run.close()
    }

    private static let answers: [(answer: FakeAnswer, status: Int, denied: Int?)] = [
        (.status(401), 403, 401), (.status(403), 403, 403),
        (.json("{\"error\":\"invalid_grant\"}", status: 400), 403, 401),
        (.json("{\"error\":\"invalid_scope\"}", status: 400), 502, nil), (.status(400), 502, nil),
        (.status(405), 502, nil), (.status(500), 503, nil),
    ]

    @Test("a refused identity token counts as refused credentials, other errors do not", arguments: 0..<answers.count)
    func refusals(number: Int) throws {
        let (answer, status, denied) = Self.answers[number]
        let kit = try Kit()
        kit.fake.on("/token", answer)
        let (result, deniedStatus) = try kit.fetch()
        #expect(Self.error(result)?.status == status && deniedStatus == denied)
        #expect(!"\(result)".contains("refresh"))
        kit.run.close()
    }
}
