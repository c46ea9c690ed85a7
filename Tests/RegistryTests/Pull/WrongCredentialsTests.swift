// A wrong password is tried a few times a minute, and clients get the same error meanwhile.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct WrongCredentialsTests {
    private static let auth = RegistryAuth(user: "me", password: Secret("old"))
    private static let image = FakeImage()

    /// Accepts `me` with the password `good`, by tokens or by Basic.
    private final class LoginSite {
        var isPasswordGood = false
        private(set) var logins = 0

        func guardByTokens(_ fake: FakeUpstream, status: Int = 401) {
            fake.answer = { [self, unowned fake] request in
                if request.path.hasPrefix("/token") {
                    if request.header("authorization") != nil { logins += 1 }
                    return isPasswordGood ? .token("t", expiresIn: 60) : .status(status)
                }
                return request.header("authorization") == "Bearer t"
                    ? WrongCredentialsTests.image.answer : .challenge(realm: "\(fake.url)/token")
            }
        }

        func guardByBasic(_ fake: FakeUpstream, forbidding forbidden: String = "none") {
            fake.answer = { [self] request in
                let hasCredentials = request.header("authorization") != nil
                if hasCredentials { logins += 1 }
                guard hasCredentials, isPasswordGood, !request.path.contains(forbidden) else {
                    return .status(401, [("WWW-Authenticate", "Basic realm=\"r\"")])
                }
                return WrongCredentialsTests.image.answer
            }
        }
    }

    private static func detail(_ response: TestClient.Response) -> Bool {
        response.status == 403 && response.errorCode == "DENIED" && response.text.contains("refused the credentials")
    }

    @Test("forty pulls with a wrong password cause one login", arguments: ["token", "basic"])
    func fewLogins(scheme: String) throws {
        let mirror = try MirrorKit { $0.auth = Self.auth }
        let registry = LoginSite()
        if scheme == "token" { registry.guardByTokens(mirror.fake) } else { registry.guardByBasic(mirror.fake) }
        let first = mirror.get("/v2/team/app/manifests/v0")
        #expect(Self.detail(first))
        let asked = mirror.fake.requests.count
        for number in 1..<40 {
            let answer = mirror.get("/v2/team/app/manifests/v\(number)")
            #expect(answer.body == first.body && answer.status == first.status)
        }
        #expect(Self.detail(mirror.get("/v2/team/app/blobs/\(digestOf([1]))")))
        #expect(registry.logins == 1)
        #expect(mirror.fake.requests.count == asked, "what would only be refused is not asked for")
        let lines = mirror.log.text.components(separatedBy: "refused the configured credentials").count - 1
        #expect(lines == 1, "a line for each pause")
        let refused = "ociregistry_upstream_credentials_refused_total{ns=\"registry.test\"}"
        #expect(try mirror.scrape()[refused] == 1)
        mirror.close()
    }

    @Test("concurrent pulls of many repositories cause few logins", arguments: ["token", "basic"])
    func manyRepositories(scheme: String) throws {
        let mirror = try MirrorKit { $0.auth = Self.auth }
        let registry = LoginSite()
        if scheme == "token" { registry.guardByTokens(mirror.fake) } else { registry.guardByBasic(mirror.fake) }
        if scheme == "token" {
            let clients = (0..<40).map { mirror.start(.get("/v2/team/app\($0)/manifests/v1")) }
            mirror.wait(for: clients)
            for client in clients { #expect(Self.detail(client.response)) }
            #expect(registry.logins == 1)
        } else {
            for number in 0..<40 { #expect(Self.detail(mirror.get("/v2/team/app\(number)/manifests/v1"))) }
            #expect(registry.logins == CredentialBackOff.maximumRefusedRepositories)
        }
        mirror.close()
    }

    @Test("the credentials are sent again when the pause is over, and success ends it", arguments: ["token", "basic"])
    func recovers(scheme: String) throws {
        let mirror = try MirrorKit { $0.auth = Self.auth }
        let registry = LoginSite()
        if scheme == "token" { registry.guardByTokens(mirror.fake) } else { registry.guardByBasic(mirror.fake) }
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 403)
        registry.isPasswordGood = true
        // Asked again and again until the pause of a second is over.
        var answer = mirror.get("/v2/team/app/manifests/v1")
        for _ in 0..<1000 where answer.status == 403 {
            mirror.run.run(milliseconds: 10)
            answer = mirror.get("/v2/team/app/manifests/v1")
        }
        #expect(answer.body == Self.image.manifest)
        #expect(registry.logins >= 2)
        for number in 2..<6 { #expect(mirror.get("/v2/team/app/manifests/v\(number)").status == 200) }
        mirror.close()
    }

    @Test("a repository that is forbidden for its user does not pause the others")
    func forbiddenRepository() throws {
        let mirror = try MirrorKit { $0.auth = Self.auth }
        let registry = LoginSite()
        registry.isPasswordGood = true
        registry.guardByBasic(mirror.fake, forbidding: "secret")
        for number in 0..<10 {
            #expect(mirror.get("/v2/team/secret/manifests/v\(number)").status == 403)
            #expect(mirror.get("/v2/team/app/manifests/v\(number)").status == 200)
        }
        mirror.close()
    }

    @Test("a token service's 403 pauses only its repository")
    func forbiddenScope() throws {
        let mirror = try MirrorKit { $0.auth = Self.auth }
        let registry = LoginSite()
        registry.guardByTokens(mirror.fake, status: 403)
        for number in 0..<10 { #expect(Self.detail(mirror.get("/v2/team/secret/manifests/v\(number)"))) }
        #expect(registry.logins == 1)
        registry.isPasswordGood = true
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        mirror.close()
    }

    @Test("a refused anonymous token does not pause the credentials")
    func anonymous() throws {
        let mirror = try MirrorKit()
        let registry = LoginSite()
        registry.guardByTokens(mirror.fake)
        for number in 0..<5 {
            let answer = mirror.get("/v2/team/app/manifests/v\(number)")
            #expect(answer.status == 403 && answer.text.contains("anonymous"))
        }
        #expect(mirror.fake.requests(to: "/token").count == 5)
        #expect(try mirror.scrape()["ociregistry_upstream_credentials_refused_total{ns=\"registry.test\"}"] == 0)
        mirror.close()
    }

    @Test("an unreachable token service does not pause the credentials")
    func unreachable() throws {
        let mirror = try MirrorKit { $0.auth = Self.auth }
        mirror.fake.answer = { [unowned fake = mirror.fake] request in
            request.path == "/token" ? .status(500) : .challenge(realm: "\(fake.url)/token")
        }
        let clients = (0..<10).map { mirror.start(.get("/v2/team/app\($0)/manifests/v1")) }
        mirror.wait(for: clients)
        for client in clients { #expect(client.response.status == 503) }
        let registry = LoginSite()
        registry.isPasswordGood = true
        registry.guardByTokens(mirror.fake)
        #expect(mirror.get("/v2/team/app/manifests/v1").status == 200)
        mirror.close()
    }
}
