// Pulls images through a server process: by plain HTTP on the test's loop, and by programs while the loop runs.

import Foundation
import Synchronization
import TestSupport
import Testing

@testable import OCI
@testable import Registry

/// A client of one server.
struct MirrorPuller {
    let run: LoopRun
    private let port: UInt16

    init(_ server: OciRegistryProcess, on run: LoopRun) throws {
        self.init(port: try #require(server.address.split(separator: ":").last.flatMap { UInt16($0) }), on: run)
    }

    init(port: UInt16, on run: LoopRun) {
        self.run = run
        self.port = port
    }

    /// Sends a request, and calls `then` when it has been answered.
    func get(_ path: String, then: @escaping (TestClient.Response) -> Void) {
        let client = TestClient(on: run.loop, port: port, manner: .init(), number: 0)
        // The client keeps itself until it is done.
        client.onDone = {
            let response = client.response
            client.onDone = {}
            then(response)
        }
        client.send(.get(path))
    }

    func get(_ path: String) -> TestClient.Response {
        var response: TestClient.Response?
        get(path) { response = $0 }
        run.wait { response != nil }
        return response ?? TestClient.Response()
    }

    /// Pulls an image with everything in it; nil when all of it is right, else the first response that is not.
    func pull(
        _ image: FakeImage, from repository: String, tag: String, then: @escaping (TestClient.Response?) -> Void
    ) {
        var steps = [("manifests/\(tag)", image.manifest)] + image.blobs.map { ("blobs/\(digestOf($0))", $0) }
        func next() {
            guard !steps.isEmpty else { return then(nil) }
            let (path, body) = steps.removeFirst()
            get("/v2/\(repository)/\(path)") { response in
                response.status == 200 && response.body == body ? next() : then(response)
            }
        }
        next()
    }

    func pull(_ image: FakeImage, from repository: String, tag: String) -> TestClient.Response? {
        var outcome: TestClient.Response??
        pull(image, from: repository, tag: tag) { outcome = .some($0) }
        run.wait { outcome != nil }
        return outcome ?? nil
    }
}

extension LoopRun {
    private final class Outcome: Sendable {
        let result = Mutex<Result<[UInt8], any Error>?>(nil)
    }

    /// Runs a program that must succeed, while this loop runs the servers that it needs.
    func check(_ arguments: [String]) throws {
        // The test's statement of needs is not known on other threads.
        Need.expectStated(program: arguments[0])
        let outcome = Outcome()
        Thread.detachNewThread {
            let result = Result { try Command.check(arguments) }
            outcome.result.withLock { $0 = result }
        }
        wait { outcome.result.withLock { $0 != nil } }
        _ = try outcome.result.withLock { $0 }?.get()
    }

    /// Copies an image with skopeo, and compares its layers.
    func copy(_ image: FakeImage, from reference: String) throws {
        let files = try TemporaryDirectory()
        try check([
            "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--preserve-digests",
            "docker://\(reference)", "dir:\(files.file("copy"))",
        ])
        for blob in image.blobs {
            let name = "\(digestOf(blob))".drop { $0 != ":" }.dropFirst()
            let copied = try Data(contentsOf: URL(fileURLWithPath: files.file("copy/\(name)")))
            #expect(Array(copied) == blob)
        }
    }
}
