// A cache with images whose every time and size is known, the executable on it, and an operator in front.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

final class AdminScene {
    let files: TemporaryDirectory
    let imagePath: String
    let first = FakeImage(layerBytes: [1_000_000, 449_000], seed: 1)
    let second = FakeImage(layerBytes: [200_000], seed: 2)
    /// The one image of the index.
    let third = FakeImage(layerBytes: [100_000], seed: 3)
    var index: [UInt8] { FakeImage.index([third]) }

    /// When the names came: 2023-11-14T22:13:20Z, and a day and two days later.
    static let day: Int64 = 86_400
    static let start: Int64 = 1_700_000_000

    /// - Parameter folder: where under the temporary directory the cache is.
    init(folder: String = "images") throws {
        files = try TemporaryDirectory()
        imagePath = files.file(folder)
        try FileManager.default.createDirectory(atPath: imagePath, withIntermediateDirectories: true)
        try fill()
        // What has just been stored counts as used just now; here, nothing has ever been pulled.
        try FileManager.default.removeItem(atPath: "\(imagePath)/store-v1/ACCESS")
    }

    private func fill() throws {
        let cache = try LocalCache(imagePath: imagePath)
        let (host, repository) = (RegistryHost.dockerHub, try #require(RepositoryName("library/x")))
        for blob in [first, second, third].flatMap(\.blobs) {
            try cache.put(blob: blob, host: host, repository: repository)
        }
        try cache.put(manifest: third.manifest, type: .ociManifest)
        try put(cache, "docker.io", "library/debian", "12", index, .ociIndex, Self.start)
        try put(cache, "docker.io", "team/app", "v1", first.manifest, .ociManifest, Self.start + Self.day)
        try put(
            cache, "registry.example:5000", "a/b/c", "V2", second.manifest, .ociManifest, Self.start + 2 * Self.day)
    }

    private func put(
        _ cache: LocalCache, _ host: String, _ repository: String, _ tag: String, _ manifest: [UInt8],
        _ type: MediaType, _ created: Int64
    ) throws {
        let name = TagName(
            host: try #require(RegistryHost(host)), repository: try #require(RepositoryName(repository)), tag: tag)
        try cache.put(manifest: manifest, type: type)
        cache.put(tag: tag, of: manifest, host: name.host, repository: name.repository)
        var times = [timeval(tv_sec: Int(created), tv_usec: 0), timeval(tv_sec: Int(created), tv_usec: 0)]
        #expect(utimes(Layout(imagePath: imagePath).tag(name), &times) == 0)
    }

    // MARK: What is expected

    private func times(_ days: Int64) -> String {
        let time = LocalTime.text(Self.start + days * Self.day)
        return "\(time) \(time)"
    }

    var tableLines: [String] {
        [
            "docker.io/library/debian 12 list \(times(0)) n/a",
            "docker.io/library/debian \(third.digest.hex) image \(times(0)) 0.1",
            "docker.io/team/app v1 image \(times(1)) 1.4",
            "registry.example:5000/a/b/c V2 image \(times(2)) 0.2",
        ]
    }

    var manifestLines: [String] {
        [
            "docker.io/library/debian:12 \(digestOf(index)) \(times(0))",
            "docker.io/library/debian@sha256:\(third.digest.hex.prefix(10)) \(third.digest) \(times(0))",
            "docker.io/team/app:v1 \(first.digest) \(times(1))",
            "registry.example:5000/a/b/c:V2 \(second.digest) \(times(2))",
        ]
    }

    // MARK: The operator

    var socket: String { "\(imagePath)/store-v1/ADMIN" }

    func serve(_ arguments: [String] = []) throws -> OciRegistryProcess {
        try OciRegistryProcess(imagePath: imagePath, arguments: ["--air-gapped"] + arguments)
    }

    /// `host:port` of `adminListen`, from the banner.
    func adminAddress(of server: ChildProcess) throws -> String {
        let line = try server.line(containing: "administration: http://", in: server.errors)
        return String(line.components(after: "http://").prefix { $0 != "/" })
    }

    /// `host:port` of the serving port, from the banner.
    func servingAddress(of server: ChildProcess) throws -> String {
        let line = try server.line(containing: "listening on http://", in: server.errors)
        return String(line.components(after: "http://").prefix { $0 != "/" })
    }

    func run(_ arguments: [String]) throws -> Command.Result {
        try Command.run([Checkout.server] + arguments + ["--image-path", imagePath])
    }

    struct Answer {
        let status: Int
        let body: String
        var lines: [String] { body.split(separator: "\n").map(String.init) }
    }

    /// What curl gets for a path: through the socket, or from an address.
    func curl(_ path: String, at address: String? = nil, _ arguments: [String] = []) throws -> Answer {
        let way = address == nil ? ["--globoff", "--unix-socket", shortSocket] : ["--globoff"]
        let output = try Command.check(
            ["curl", "-sS", "-w", "\n%{http_code}"] + way + arguments + ["http://\(address ?? "localhost")\(path)"])
        let text = String(decoding: output, as: UTF8.self)
        let split = try #require(text.lastIndex(of: "\n"))
        return Answer(status: Int(text[text.index(after: split)...]) ?? 0, body: String(text[..<split]))
    }

    /// curl does not know the way around the 107 bytes of a socket's name.
    private var shortSocket: String {
        guard socket.utf8.count > 107 else { return socket }
        let link = files.file("s")
        try? FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: "\(imagePath)/store-v1")
        return "\(link)/ADMIN"
    }
}
