// A mirror with its health listener, for the tests of health and readiness.

import TestSupport
import Testing

@testable import Registry

/// A mirror with a health listener beside it, wired as App/Running.swift does.
final class HealthKit {
    let mirror: MirrorKit
    let health: HealthEndpoint
    private let server: Server
    private let port: UInt16

    init(imagePath: String? = nil, pulls: Bool = true, deadlineMilliseconds: UInt64 = 30_000) throws {
        mirror = try MirrorKit { $0.imagePath = imagePath }
        let loop = mirror.run.loop
        let health = HealthEndpoint(
            store: mirror.store, offload: mirror.offload,
            probes: ReadinessProbes(
                on: loop, store: mirror.store, pulls: pulls, deadlineMilliseconds: deadlineMilliseconds))
        self.health = health
        server = Server(
            on: loop, offload: mirror.offload, logger: HealthEndpoint.logger(mirror.log.logger),
            descriptorLimit: HealthEndpoint.descriptorLimit
        ) { health.handle($0, $1, $2) }
        port = try server.listen(host: "127.0.0.1", port: 0).port
    }

    func start(_ target: String, method: String = "GET") -> TestClient {
        let client = TestClient(on: mirror.run.loop, port: port)
        client.send(TestClient.Request(method: method, target: target))
        return client
    }

    func ask(_ target: String, method: String = "GET") -> TestClient.Response {
        let client = start(target, method: method)
        mirror.wait(for: [client])
        return client.response
    }

    func close() {
        var isDrained = false
        server.drain { isDrained = true }
        server.closeAll()
        mirror.wait(until: { isDrained })
        mirror.close()
    }
}
