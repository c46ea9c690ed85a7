// A server with a configuration file that the test changes, a scripted upstream on the test's loop, and an operator.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

final class ReloadScene {
    let run: LoopRun
    let files: TemporaryDirectory
    let fake: FakeUpstream
    let process: ChildProcess
    let port: UInt16
    /// The settings that every file of the test has.
    private let common: String
    private var clients: [TestClient] = []

    /// - Parameters:
    ///   - yaml: the file's settings. The upstream is the registry `registry.test`, unless they have `registries`.
    ///   - arguments: further options.
    init(_ yaml: String = "", arguments: [String] = []) throws {
        run = try LoopRun()
        files = try TemporaryDirectory()
        fake = FakeUpstream(on: run.loop)
        common = "registries:\n- name: registry.test\n  endpoint: \(fake.url)\n"
        let text = ReloadScene.text(yaml, common)
        process = try ChildProcess(
            [
                Checkout.server, "serve", "--config-file", try files.write(text, to: "config.yaml"), "--image-path",
                files.file("images"), "--host", "127.0.0.1", "--port", "0", "--metrics", "0",
            ] + arguments)
        let mark = "listening on http://127.0.0.1:"
        let line = try process.line(containing: mark, in: process.errors)
        port = try #require(UInt16(line.components(after: mark).prefix(while: \.isNumber)))
    }

    private static func text(_ yaml: String, _ common: String) -> String {
        yaml + (yaml.hasSuffix("\n") || yaml.isEmpty ? "" : "\n") + (yaml.contains("registries:") ? "" : common)
    }

    func close() throws {
        for client in clients { client.leave() }
        fake.close()
        process.stop()
        #expect(try process.wait() == 0, "\(process.errors.text)")
        run.close()
    }

    // MARK: The operator

    func write(_ yaml: String) throws { try files.write(ReloadScene.text(yaml, common), to: "config.yaml") }

    /// Runs `ociregistry reload` with another file in place.
    func reload(_ yaml: String, _ arguments: [String] = []) throws -> Command.Result {
        try write(yaml)
        return try Command.run([Checkout.server, "reload", "--image-path", files.file("images")] + arguments)
    }

    /// Changes the file, and expects that it is used.
    func use(_ yaml: String, _ location: SourceLocation = #_sourceLocation) throws {
        let result = try reload(yaml)
        #expect(result.status == 0, "\(result)", sourceLocation: location)
    }

    /// The lines of standard error with this text so far.
    func logLines(with text: String) -> [String] { process.errors.lines.filter { $0.contains(text) } }

    func metrics() throws -> Scrape {
        let mark = "metrics: http://127.0.0.1:"
        let line = try process.line(containing: mark, in: process.errors)
        let port = try #require(UInt16(line.components(after: mark).prefix(while: \.isNumber)))
        let client = TestClient(on: run.loop, port: port, manner: .init(), number: clients.count)
        clients.append(client)
        client.send(.get("/metrics"))
        run.wait { client.isDone }
        return Scrape(String(decoding: client.response.body, as: UTF8.self))
    }

    // MARK: Clients

    func start(_ request: TestClient.Request, manner: TestClient.ClientBehavior = .init()) -> TestClient {
        let client = TestClient(on: run.loop, port: port, manner: manner, number: clients.count)
        clients.append(client)
        client.send(request)
        return client
    }

    @discardableResult
    func ask(_ request: TestClient.Request, _ location: SourceLocation = #_sourceLocation) -> TestClient.Response {
        let client = start(request)
        run.wait(until: { client.isDone }, location)
        return client.response
    }

    /// The status of a manifest of the upstream.
    func status(_ tag: String, _ location: SourceLocation = #_sourceLocation) -> Int {
        ask(.get("/v2/registry.test/team/app/manifests/\(tag)"), location).status
    }
}
