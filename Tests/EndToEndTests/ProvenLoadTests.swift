// Caches that are filled in one place and served behind rules in an air gap, where nobody can be asked.

import TestSupport
import Testing

@testable import OCI

@Suite(.needs(.curl, .dockerRegistry)) struct ProvenLoadTests {
    private static let image = FakeImage(layerBytes: [3000, 40_000], seed: 9)
    private static let content =
        ["manifests/v1", "manifests/\(image.digest)"] + image.blobs.map { "blobs/\(digestOf($0))" }

    private let registry: DockerRegistry
    private let storage: RegistryStorage
    private let files: TemporaryDirectory
    /// Both repositories have the same image.
    private let upstreams: [String: String]

    init() throws {
        storage = try RegistryStorage()
        try storage.add(Self.image, repository: "team/a", tags: ["v1"])
        try storage.add(Self.image, repository: "team/b", tags: ["v1"])
        registry = try DockerRegistry(storing: storage.path)
        files = try TemporaryDirectory()
        upstreams = ["one.test": registry.address]
    }

    private func serve(_ cache: CacheDirectory) throws -> OciRegistryProcess {
        try OciRegistryProcess(
            imagePath: cache.imagePath, arguments: ["--air-gapped"], settings: "allow: ['.*']\n")
    }

    private func statuses(_ repository: String, _ server: OciRegistryProcess) throws -> Set<String> {
        let urls = Self.content.map { "http://\(server.address)/v2/\(repository)/\($0)" }
        let text = try Command.check(
            ["curl", "--silent", "--write-out", "%{http_code}\\n", "--remote-name-all", "--output-dir", files.path]
                + urls)
        return Set(String(decoding: text, as: UTF8.self).split(separator: "\n").map(String.init))
    }

    @Test("an air-gapped server with rules serves loaded images that share content under each of their names")
    func list() throws {
        let cache = try CacheDirectory()
        let list = try files.write("one.test/team/a:v1\none.test/team/b:v1\n", to: "list.txt")
        try cache.check("load", "--image-file", list, upstreams: upstreams)
        let requests = try registry.stop()
        // What the second image shares is asked for by HEAD.
        #expect(requests.filter { $0.hasPrefix("GET /v2/team/") && $0.contains("/blobs/") }.count == 3, "\(requests)")
        let server = try serve(cache)
        #expect(try statuses("one.test/team/a", server) == ["200"])
        #expect(try statuses("one.test/team/b", server) == ["200"])
        #expect(try statuses("one.test/team/c", server) == ["404"])
        let listed = try cache.check("list", "--json")
        #expect(listed.contains("\"isProven\":true") && !listed.contains("\"isProven\":false"), "\(listed)")
        #expect(try server.stop() == 0)
    }

    @Test("an archive that the operator loads proves its names") func archive() throws {
        let first = try CacheDirectory()
        let list = try files.write("one.test/team/a:v1\n", to: "list.txt")
        try first.check("load", "--image-file", list, upstreams: upstreams)
        try registry.stop()
        try first.check("export", "one.test/team/a:v1", "--output", files.file("images.tar"))
        let second = try CacheDirectory()
        try second.check("load", "--image-file", files.file("images.tar"), "--all-platforms")
        let server = try serve(second)
        #expect(try statuses("one.test/team/a", server) == ["200"])
        #expect(try statuses("one.test/team/b", server) == ["404"])
        #expect(try server.stop() == 0)
    }
}
