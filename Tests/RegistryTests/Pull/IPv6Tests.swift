// Upstreams and clients at IPv6 addresses.

import Foundation
import Logging
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct IPv6Tests {
    /// An upstream at `[::1]:port`, and one at 127.0.0.1 without a listener at its port on `::1`.
    private static func mirror(
        _ image: FakeImage
    ) throws -> (mirror: MirrorKit, six: FakeUpstream, four: FakeUpstream) {
        let mirror = try MirrorKit {
            $0.upstreams = { [FakeUpstream(on: $0, address: "::1"), FakeUpstream(on: $0)] }
        }
        for upstream in mirror.upstreams { upstream.answer = { _ in image.answer } }
        return (mirror, mirror.upstreams[0], mirror.upstreams[1])
    }

    @Test("an IPv6 upstream can be named in the path, by ns and by X-Registry, escaped or not")
    func bracketedAddress() throws {
        let image = FakeImage()
        let (mirror, six, _) = try Self.mirror(image)
        let host = "[::1]:\(six.port)"
        #expect(six.authority == host)
        let escaped = "%5B::1%5D%3A\(six.port)"
        let answers = [
            mirror.get("/v2/\(host)/team/a/manifests/v1"),
            mirror.get("/v2/\(escaped)/team/b/manifests/v1"),
            mirror.get("/v2/team/c/manifests/v1?ns=\(host)"),
            mirror.get("/v2/team/d/manifests/v1?ns=%5B%3A%3A1%5D%3A\(six.port)"),
            mirror.get("/v2/team/e/manifests/v1", [("X-Registry", host)]),
        ]
        for answer in answers { #expect(answer.status == 200 && answer.body == image.manifest) }
        #expect(six.requests.map(\.path) == ["a", "b", "c", "d", "e"].map { "/v2/team/\($0)/manifests/v1" })
        #expect(six.requests.allSatisfy { $0.header("host") == host })
        // In the cache by that name, with the upstream gone.
        mirror.settle()
        six.close()
        #expect(mirror.get("/v2/\(host)/team/a/manifests/v1").body == image.manifest)
        mirror.close()
    }

    @Test("a name whose IPv6 address refuses connections is pulled from at its IPv4 address")
    func otherFamily() throws {
        let image = FakeImage()
        let (mirror, _, four) = try Self.mirror(image)
        let answer = mirror.get("/v2/localhost:\(four.port)/team/a/manifests/v1")
        #expect(answer.status == 200 && answer.body == image.manifest)
        #expect(four.requests.count == 1)
        mirror.close()
    }

    @Test("a server on :: serves IPv6 and IPv4, one on ::1 serves IPv6 only", arguments: ["::", "::1"])
    func listenAddresses(host: String) throws {
        let run = try LoopRun()
        let offload = Offload(on: run.loop)
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        var addresses: [NetworkAddress?] = []
        let server = Server(on: run.loop, offload: offload, logger: logger, descriptorLimit: 1024) { connection, _, _ in
            addresses.append(connection.peerAddress)
            connection.respond(.unavailable("nothing here"))
        }
        let address = try server.listen(host: host, port: 0)
        #expect(address.text == "[\(host)]:\(address.port)")
        var clients = [TestClient(on: run.loop, port: address.port, usesSix: true)]
        if host == "::" {
            clients.append(TestClient(on: run.loop, port: address.port))
        } else {
            #expect(PlainSocket.connect(to: address.port) < 0)
        }
        for client in clients {
            client.send(.get("/v2/"))
            client.onDone = { run.finish() }
            run.run()
            #expect(client.response.status == 503)
            client.leave()
        }
        #expect(addresses.first == NetworkAddress(literal: "::1"))
        if host == "::" { #expect(addresses.last == NetworkAddress(literal: "::ffff:127.0.0.1")) }
        var isDrained = false
        server.drain { isDrained = true }
        server.closeAll()
        while !isDrained { run.run(milliseconds: 5) }
        run.close()
    }
}
