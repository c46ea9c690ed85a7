// A registry with three endpoints, of which one refuses connections and one breaks off.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite(.needs(.dockerRegistry, .nginx, .skopeo)) struct EndpointFailoverTests {
    private static let repository = "team/app"
    private static let image = FakeImage(layerBytes: [8_000_000], seed: 77)
    /// Where the second endpoint breaks a layer off.
    private static let cut = 4_800_000

    /// A registry that has everything, and ends each layer's connection at `cut`.
    private static func cutting(on run: LoopRun) -> FakeUpstream {
        let fake = FakeUpstream(on: run.loop)
        run.atClose { fake.close() }
        fake.on("/v2/\(repository)/manifests/v1", image.answer)
        for blob in image.blobs {
            fake.on("/v2/\(repository)/blobs/\(digestOf(blob))") { request in
                let answer = FakeAnswer.blob(blob, for: request)
                return blob.count > cut && request.rangeStart == nil ? answer.cut(after: cut) : answer
            }
        }
        return fake
    }

    /// nginx in front of a registry, with a line `status bytes request` for each request.
    private static func logging(_ registry: DockerRegistry, to log: String) throws -> ReverseProxy {
        try ReverseProxy.nginx { address in
            """
            log_format bytes '$status $body_bytes_sent $request';
            server {
              listen \(address); access_log \(log) bytes;
              location / { proxy_pass http://\(registry.address); proxy_set_header Host $http_host; }
            }
            """
        }
    }

    @Test("of three endpoints, one refused and one broken off at 60 %, one body of the layer is transferred in all")
    func threeEndpoints() throws {
        let files = try TemporaryDirectory()
        let storage = try RegistryStorage()
        try storage.add(Self.image, repository: Self.repository, tags: ["v1"])
        let registry = try DockerRegistry(storing: storage.path)
        let good = try Self.logging(registry, to: files.file("access.log"))
        let run = try LoopRun()
        let cutting = Self.cutting(on: run)
        let server = try OciRegistryProcess(
            registries: """
                - name: registry.test
                  endpoints:
                  - http://127.0.0.1:\(LoopbackPort.free())
                  - http://\(cutting.authority)
                  - http://\(good.address)

                """, arguments: ["--no-prefetch-layers"])
        try run.copy(Self.image, from: "\(server.address)/registry.test/\(Self.repository):v1")
        #expect(try server.stop() == 0)
        let layer = "\(digestOf(Self.image.layers[0]))"
        let before = cutting.requests.filter { $0.path.hasSuffix(layer) }
        #expect(before.count == 1 && before.first?.rangeStart == nil, "\(before.map(\.path))")
        good.process.stop()
        let after = try String(contentsOfFile: files.file("access.log"), encoding: .utf8).split(separator: "\n")
            .filter { $0.contains(layer) }
        let rest = Self.image.layers[0].count - Self.cut
        #expect(after.count == 1 && after.first?.hasPrefix("206 \(rest) GET ") == true, "\(after)")
        #expect(server.process.errors.text.contains("an endpoint of the upstream failed; the next one is asked"))
        run.close()
    }

    @Test("an endpoint that connections vanish at does not keep an image from being pulled")
    func blackHole() throws {
        // The kernel drops what comes to a full queue, as a router does that leads nowhere.
        let hole = try PlainSocket.listen(backlog: 0)
        let queued = (0..<4).map { _ in PlainSocket.connect(to: hole.port, waits: false) }
        defer { for descriptor in queued + [hole.descriptor] { close(descriptor) } }
        let storage = try RegistryStorage()
        try storage.add(Self.image, repository: Self.repository, tags: ["v1"])
        let registry = try DockerRegistry(storing: storage.path)
        let run = try LoopRun()
        let server = try OciRegistryProcess(
            registries: """
                - name: registry.test
                  endpoints:
                  - http://127.0.0.1:\(hole.port)
                  - http://\(registry.address)

                """, arguments: ["--no-prefetch-layers"])
        let wrong = try MirrorPuller(server, on: run)
            .pull(Self.image, from: "registry.test/\(Self.repository)", tag: "v1")
        #expect(wrong?.status == nil, "\(wrong?.text ?? "")")
        #expect(server.process.errors.text.contains("an endpoint of the upstream failed; the next one is asked"))
        #expect(try server.stop() == 0)
        run.close()
    }

    @Test("an image is pulled by its second endpoint when the first does not have it, unless its 404 is final")
    func finalAnswers() throws {
        let storage = try RegistryStorage()
        try storage.add(Self.image, repository: Self.repository, tags: ["v1"])
        let (full, empty) = (
            try DockerRegistry(storing: storage.path), try DockerRegistry(storing: RegistryStorage().path)
        )
        for (isFinal, status) in [(false, 200), (true, 404)] {
            let run = try LoopRun()
            let server = try OciRegistryProcess(
                registries: """
                    - name: registry.test
                      endpoints:
                      - {url: "http://\(empty.address)", final404: \(isFinal)}
                      - {url: "http://\(full.address)"}

                    """, arguments: ["--no-prefetch-layers"])
            let path = "/v2/registry.test/\(Self.repository)/manifests/v1"
            #expect(try MirrorPuller(server, on: run).get(path).status == status)
            #expect(try server.stop() == 0)
            run.close()
        }
    }
}
