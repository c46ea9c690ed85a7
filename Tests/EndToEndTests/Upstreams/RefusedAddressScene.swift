// A server, a hostile registry, and listeners that must not see a connection, in a network of their own.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

/// A server whose every registry is reached over plain HTTP, a registry on a public address that wants it to go
/// elsewhere, and listeners that must not see a connection.
final class RefusedAddressScene {
    /// What a client got, and what was logged about it.
    struct Observation {
        let attempt: String
        let status: Int
        /// The body, with HOST in place of the host that was asked for.
        let body: String
        /// The reasons in the log.
        let reasons: [String]
    }

    /// A public address (RFC 5737), and a private one.
    static let outside = "203.0.113.7"
    static let inside = "10.77.0.1"

    let run: LoopRun
    let names: FakeNameServer
    let hostile: [FakeUpstream]
    let traps: [FakeUpstream]
    let server: OciRegistryProcess
    private let port: UInt16
    private var clients: [TestClient] = []
    private var count = 0

    init(_ settings: String, imagePath: String? = nil) throws {
        run = try LoopRun()
        let loop = run.loop
        names = try FakeNameServer(on: loop)
        hostile = (0..<2).map { _ in FakeUpstream(on: loop, address: Self.outside) }
        traps = ["127.0.0.1", Self.inside].map { FakeUpstream(on: loop, address: $0) }
        server = try OciRegistryProcess(
            registries: """
                - {name: "*", scheme: http}
                - name: pair.test
                  endpoints: ["\(hostile[0].url)", "\(hostile[1].url)"]
                - name: tls.test
                  endpoint: "https://\(traps[1].authority)"

                """, imagePath: imagePath, arguments: ["--no-prefetch-layers"], settings: settings)
        port = try #require(server.address.split(separator: ":").last.flatMap { UInt16($0) })
    }

    /// Asks with `/v2/REPOSITORY` in `path`, as a repository of its own.
    func ask(
        _ attempt: String, host: String, _ path: String = "/v2/REPOSITORY/manifests/v1?ns=HOST",
        method: String = "GET", headers: [(String, String)] = []
    ) throws -> Observation {
        count += 1
        let repository = "app\(count)"
        let target = path.replacing("REPOSITORY", with: repository).replacing("HOST", with: host)
        let client = TestClient(on: run.loop, port: port, number: clients.count)
        clients.append(client)
        client.send(.init(method: method, target: target, headers: headers))
        run.wait(until: { client.isDone })
        let response = client.response
        // The line of the failure comes before that of the request.
        _ = try server.process.line(containing: "\(method) \(target)", in: server.process.errors)
        return Observation(
            attempt: "\(attempt): \(method) \(target)", status: response.status,
            body: response.text.replacing(host, with: "HOST"),
            reasons: server.process.errors.lines.filter {
                $0.contains(" ERROR") && $0.hasSuffix(" repository=\(repository)")
            })
    }

    func close() throws {
        for client in clients { client.leave() }
        for fake in hostile + traps { fake.close() }
        names.close()
        _ = try server.stop()
        run.close()
    }
}
