// What clients get when an upstream cannot be reached or leads to an address that is refused, and what the log has.

import Logging
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct UnreachableUpstreamTests {
    private static let digest = "sha256:" + String(repeating: "ab", count: 32)
    private static let requests: [TestClient.Request] = [
        .get("/v2/team/app/manifests/v1"), .head("/v2/team/app/manifests/v1"), .get("/v2/team/app/manifests/\(digest)"),
        .get("/v2/team/app/blobs/\(digest)"), .head("/v2/team/app/blobs/\(digest)"), .get("/v2/team/app/tags/list"),
        .get("/v2/team/app/referrers/\(digest)"),
    ]

    private static let unreachable =
        #"{"errors":[{"code":"UNAVAILABLE","message":"registry.test cannot be reached; the server's log says why"}]}"#
        + "\n"
    private static let refused =
        #"{"errors":[{"code":"DENIED","message":"registry.test leads to an address that is not allowed; "#
        + #"the server's log says which"}]}"# + "\n"

    /// Sends each request, and expects the response, and one line in the log with the reason.
    private static func expect(
        _ mirror: MirrorKit, _ status: Int, _ body: String, logged reason: String,
        _ location: SourceLocation = #_sourceLocation
    ) {
        for (number, var request) in requests.enumerated() {
            let id = "id-\(number)"
            request.headers.append(("X-Request-Id", id))
            let known = mirror.log.entries.count
            let response = mirror.ask(request).response
            #expect(response.status == status, "\(request)", sourceLocation: location)
            #expect(response.text == (request.method == "HEAD" ? "" : body), "\(request)", sourceLocation: location)
            let lines = mirror.log.entries[known...].filter { $0.level == .error }
            #expect(lines.count == 1, "\(request): \(lines)", sourceLocation: location)
            #expect(lines.first?["reason"]?.contains(reason) == true, "\(lines)", sourceLocation: location)
            #expect(lines.first?["host"] == "registry.test", "\(lines)", sourceLocation: location)
            #expect(lines.first?["repository"] == "team/app", "\(lines)", sourceLocation: location)
            #expect(lines.first?["id"] == id, "\(lines)", sourceLocation: location)
        }
    }

    private static let faults: [(FakeAnswer, String)] = [
        (.hangUp, "broke off its answer"), (.reset, "broke off its answer"),
        (.raw("SSH-2.0-OpenSSH_9.2\r\n\r\n").closing(), "broke off its answer"), (.silent, "no answer within 100 ms"),
    ]

    @Test("every fault before an answer has one response, and its reason in the log", arguments: faults.indices)
    func faultBeforeAnswer(_ index: Int) throws {
        let (answer, reason) = Self.faults[index]
        let mirror = try MirrorKit { $0.connectLimits.firstByteMilliseconds = 100 }
        mirror.fake.answer = { _ in answer }
        Self.expect(mirror, 503, Self.unreachable, logged: reason)
        // The token service is another place where it can happen.
        mirror.fake.answer = { [fake = mirror.fake] request in
            request.path == "/token" ? answer : .challenge(realm: "\(fake.url)/token")
        }
        Self.expect(mirror, 503, Self.unreachable, logged: "its token service 127.0.0.1")
        mirror.close()
    }

    @Test("a closed port has the response of every other fault") func closedPort() throws {
        let mirror = try MirrorKit()
        mirror.fake.stopListening()
        Self.expect(mirror, 503, Self.unreachable, logged: "Failed to connect")
        mirror.close()
    }

    @Test("a client that has waited for too long gets the response of every other fault") func deadline() throws {
        let mirror = try MirrorKit { $0.policy.answerDeadlineMilliseconds = 50 }
        mirror.fake.answer = { _ in .silent }
        Self.expect(mirror, 503, Self.unreachable, logged: "has not answered within 50 ms")
        mirror.close()
    }

    /// Where a registry may lead to, and the reason in the log.
    private static let addresses: [(location: String, reason: String)] = [
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254, the address of a cloud metadata service"),
        ("http://127.0.0.2:1/x", "127.0.0.2, a loopback"), ("http://localhost:1/x", "localhost, a loopback"),
        ("http://[64:ff9b::7f00:2]/x", "64:ff9b::7f00:2], a loopback"),
        ("http://[fd00:ec2::254]/x", "fd00:ec2::254], the address of a cloud metadata service"),
    ]

    @Test("a refused address has one response, whatever leads there", arguments: addresses.indices)
    func refusedAddress(_ index: Int) throws {
        let (location, reason) = Self.addresses[index]
        let mirror = try MirrorKit { $0.auth = UpstreamKit.auth }
        mirror.fake.answer = { _ in .redirect(to: location) }
        Self.expect(mirror, 403, Self.refused, logged: "it redirects to \(location.contains("[") ? "[" : "")\(reason)")
        mirror.fake.answer = { _ in .challenge(realm: location) }
        Self.expect(mirror, 403, Self.refused, logged: reason)
        mirror.fake.answer = { [fake = mirror.fake] request in
            request.path == "/token" ? .redirect(to: location) : .challenge(realm: "\(fake.url)/token")
        }
        Self.expect(mirror, 403, Self.refused, logged: "its token service: it redirects to")
        mirror.close()
    }

    @Test("a refused address does not depend on credentials, nor on hints about them") func withCredentials() throws {
        let kit = try UpstreamKit { _, config, _ in config.auth = UpstreamKit.auth }
        let store = FakeUpstream(on: kit.run.loop)
        kit.run.atClose { store.close() }
        // The realm is at another port, where a request without credentials is sent; that service leads to a local one.
        store.answer = { _ in .redirect(to: "http://127.0.0.2:1/x") }
        kit.fake.answer = { _ in .challenge(realm: "\(store.url)/token") }
        let error = try #require(kit.ask(kind: .manifest).refusal)
        #expect(error == UpstreamAnswer.addressRefused(UpstreamKit.host, "x").with(error.internalMessage))
        kit.run.close()
    }

    @Test("with several endpoints that lead to a refused address, the response is the same") func endpoints() throws {
        let kit = try UpstreamKit { fake, config, _ in
            config.endpoints += (try? [EndpointConfig(EndpointAddress(parsing: "\(fake.url)/second"))]) ?? []
        }
        kit.fake.answer = { _ in .redirect(to: "http://169.254.169.254/x") }
        let error = try #require(kit.ask(kind: .manifest).refusal)
        #expect(kit.fake.requests.count == 2)
        #expect(error == UpstreamAnswer.addressRefused(UpstreamKit.host, "x").with(error.internalMessage))
        kit.run.close()
    }

    @Test("a private address that a redirect or a realm names is refused with privateUpstreams: deny, before a request")
    func privateAddress() throws {
        let kit = try UpstreamKit(settings: UpstreamSettings(privateUpstreams: .deny))
        kit.fake.answer = { _ in .redirect(to: "http://10.1.2.3/x") }
        let reason = "it redirects to 10.1.2.3, a private address (privateUpstreams: deny)"
        #expect(kit.ask().failure == .addressRefused(reason))
        kit.fake.answer = { _ in .challenge(realm: "http://[fd00::1]/token") }
        #expect(kit.ask().refusal?.status == 403)
        let host = try #require(RegistryHost("192.168.1.1:5000"))
        #expect(kit.ask(host: host).refusal?.status == 403)
        kit.run.close()
    }
}

extension RegistryError {
    /// The same error with another text for the log.
    fileprivate func with(_ internalMessage: String?) -> RegistryError {
        var error = self
        error.internalMessage = internalMessage
        return error
    }
}
