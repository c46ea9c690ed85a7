// `list --cooldown` and `approve` with a real registry, a real client, and the server as a program.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite(.needs(.dockerRegistry, .skopeo)) struct CooldownCommandTests {
    /// A registry whose images are new to the cache, and a configuration that holds them back for three days.
    private final class Scene {
        static let host = "new.test"
        static let repository = "team/app"
        static let settings = "tagPolicies:\n- {match: '^new[.]test/', cooldown: 3d}\n"
        static let days: TimeInterval = 3 * 86_400

        let image = FakeImage(seed: 71)
        let storage: RegistryStorage
        let upstream: DockerRegistry
        private let files: TemporaryDirectory
        private var server: OciRegistryProcess

        init() throws {
            storage = try RegistryStorage()
            try storage.add(image, repository: Self.repository, tags: ["v1"])
            upstream = try DockerRegistry(storing: storage.path)
            files = try TemporaryDirectory()
            server = try Self.serve(upstream, files.file("images"))
        }

        private static func serve(_ upstream: DockerRegistry, _ images: String) throws -> OciRegistryProcess {
            try OciRegistryProcess(upstreams: [host: upstream.address], imagePath: images, settings: settings)
        }

        func stop() throws { #expect(try server.stop() == 0, "\(server.process.errors.text)") }

        func kill() { #expect(server.process.stop(signal: SIGKILL) == 137) }

        func start() throws { server = try Self.serve(upstream, files.file("images")) }

        /// `address/host/repository:tag`, or with a digest.
        private func name(_ reference: String) -> String {
            "docker://\(server.address)/\(Self.host)/\(Self.repository)\(reference)"
        }

        /// Expects a client to be refused with the reason.
        func expectRefused(_ reference: String, _ location: SourceLocation = #_sourceLocation) throws {
            let result = try Command.run(["skopeo", "inspect", "--raw", "--tls-verify=false", name(reference)])
            #expect(result.status != 0 && result.output.isEmpty, "\(result)", sourceLocation: location)
            #expect(result.errors.contains("denied: "), "\(result)", sourceLocation: location)
            #expect(result.errors.contains("is held back until 20"), "\(result)", sourceLocation: location)
        }

        /// Asks until a tag means an image: a cached tag is checked at most once a second.
        func waitToServe(
            _ image: FakeImage, _ reference: String, _ location: SourceLocation = #_sourceLocation
        ) throws {
            let deadline = Date(timeIntervalSinceNow: ChildProcess.patienceSeconds)
            while try Command.check(["skopeo", "inspect", "--raw", "--tls-verify=false", name(reference)])
                != image.manifest
            {
                guard Date() < deadline else {
                    Issue.record("\(reference) is not \(image.digest)", sourceLocation: location)
                    return
                }
            }
        }

        /// Expects a client to get an image with all its blobs.
        func expectCopied(
            _ image: FakeImage, _ reference: String, _ location: SourceLocation = #_sourceLocation
        ) throws {
            let copy = try TemporaryDirectory()
            try Command.check([
                "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--preserve-digests",
                name(reference), "dir:\(copy.path)",
            ])
            for (file, bytes) in image.blobs.map({ (digestOf($0).hex, $0) }) + [("manifest.json", image.manifest)] {
                let copied = FileManager.default.contents(atPath: copy.file(file)) ?? Data()
                #expect(Array(copied) == bytes, "\(file)", sourceLocation: location)
            }
        }

        /// Runs a sub-command on the cache, whether or not the server runs.
        func run(_ arguments: [String]) throws -> Command.Result {
            try Command.run(
                [Checkout.server] + arguments
                    + ["--config-file", server.configurationFile, "--image-path", files.file("images")])
        }

        /// The output of a sub-command that must succeed.
        func text(_ arguments: [String], _ location: SourceLocation = #_sourceLocation) throws -> String {
            let result = try run(arguments)
            #expect(result.status == 0, "\(result)", sourceLocation: location)
            return result.text
        }

        func curl(_ path: String, _ arguments: [String] = []) throws -> String {
            let socket = "\(files.file("images"))/store-v1/ADMIN"
            let command = ["curl", "-sS", "--unix-socket", socket] + arguments + ["http://localhost\(path)"]
            return String(decoding: try Command.check(command), as: UTF8.self)
        }
    }

    /// A line of `list --cooldown`.
    private struct Line {
        let name, served, waiting: String
        let seen, until: Date

        init(_ text: String) throws {
            let words = text.split(separator: " ").map(String.init)
            try #require(words.count == 5, "\(text)")
            (name, served, waiting) = (words[0], words[1], words[2])
            (seen, until) = (try Date(words[3], strategy: .iso8601), try Date(words[4], strategy: .iso8601))
        }
    }

    private struct Listed: Decodable {
        struct Tag: Decodable {
            let name: String
            let served: String?
            let waiting: String
            let seen, until: Date
        }
        let waiting: [Tag]

        static func decode(_ text: String) throws -> [Tag] {
            let decoder = JSONDecoder()
            decoder.dateDecodingStrategy = .iso8601
            return try decoder.decode(Listed.self, from: Data(text.utf8)).waiting
        }
    }

    @Test("a new image is refused and listed, and is copied at once after its approval", .needs(.curl))
    func approve() throws {
        let start = Date(timeIntervalSince1970: Date().timeIntervalSince1970.rounded(.down))
        let scene = try Scene()
        let digest = "\(scene.image.digest)"
        #expect(try scene.text(["list", "--cooldown"]) == "")
        try scene.expectRefused(":v1")
        try scene.expectRefused("@\(digest)")

        let lines = try scene.text(["list", "--cooldown", "--header"]).split(separator: "\n").map(String.init)
        #expect(lines.count == 2 && lines.first == "IMAGE SERVED WAITING SEEN UNTIL")
        let line = try Line(try #require(lines.last))
        #expect(line.name == "new.test/team/app:v1" && line.served == "-" && line.waiting == digest)
        // The clocks are read in whole seconds.
        #expect(line.seen >= start && line.seen <= Date(timeIntervalSinceNow: 1))
        #expect(line.until.timeIntervalSince(line.seen) == Scene.days)
        let json = try scene.text(["list", "--cooldown", "--json"])
        let tag = try #require(try Listed.decode(json).first)
        #expect(tag.name == line.name && tag.served == nil && tag.waiting == digest)
        #expect(tag.seen == line.seen && tag.until == line.until)
        #expect(try scene.curl("/cmd/cooldown", ["-H", "Accept: application/json"]) == json)
        #expect(try scene.curl("/cmd/cooldown?header=true") == lines.map { "\($0)\n" }.joined())
        #expect(try scene.text(["list", "--cooldown", "--pattern", "other"]) == "")

        let wrong = try scene.run(["approve", "v1"])
        #expect(wrong.status == 64 && wrong.errors.contains("'v1' is not a digest"), "\(wrong)")
        #expect(try scene.text(["approve", digest]) == "approved \(digest)\n")
        try scene.expectCopied(scene.image, ":v1")
        try scene.expectCopied(scene.image, "@\(digest)")
        #expect(try scene.text(["list", "--cooldown", "--json"]) == "{\"waiting\":[]}\n")
        // Again, and by the endpoint.
        let approved = try scene.curl(
            "/cmd/approve?digest=\(digest)", ["-X", "POST", "-H", "Accept: application/json"])
        #expect(approved == "{\"approved\":\"\(digest)\",\"isKnown\":true}\n")
        try scene.stop()
    }

    @Test("waits and approvals outlive the server, also when it is killed, and both commands work without one")
    func withoutServer() throws {
        let scene = try Scene()
        let next = FakeImage(seed: 72)
        try scene.expectRefused(":v1")
        let listed = try scene.text(["list", "--cooldown"])
        #expect(listed.hasPrefix("new.test/team/app:v1 - \(scene.image.digest) "))
        try scene.stop()
        #expect(try scene.text(["list", "--cooldown"]) == listed)

        try scene.start()
        #expect(try scene.text(["list", "--cooldown"]) == listed)
        try scene.expectRefused(":v1")
        try scene.expectRefused("@\(scene.image.digest)")
        #expect(try scene.text(["list", "--cooldown"]) == listed, "the wait has not begun anew")
        try scene.stop()

        let approved = try scene.text(["approve", "\(scene.image.digest)", "--json"])
        #expect(approved == "{\"approved\":\"\(scene.image.digest)\",\"isKnown\":true}\n")
        try scene.start()
        try scene.expectCopied(scene.image, ":v1")
        #expect(try scene.text(["list", "--cooldown"]) == "")

        // The tag moves, and its former image is served meanwhile.
        try scene.storage.add(next, repository: Scene.repository, tags: ["v1"])
        #expect(try scene.text(["refresh", "team/app"]).contains("\(next.digest)"))
        try scene.expectRefused("@\(next.digest)")
        let moved = try Line(try scene.text(["list", "--cooldown"]).trimmingCharacters(in: .newlines))
        #expect(moved.served == "\(scene.image.digest)" && moved.waiting == "\(next.digest)")
        try scene.stop()
        try scene.start()
        try scene.expectCopied(scene.image, ":v1")
        #expect(try scene.text(["approve", "\(next.digest)"]) == "approved \(next.digest)\n")
        // The command has answered, so the approval is on the disk, and so is what was recorded before it.
        scene.kill()
        try scene.start()
        try scene.waitToServe(next, ":v1")
        try scene.expectCopied(next, ":v1")
        #expect(try scene.text(["list", "--cooldown"]) == "")
        try scene.stop()
    }
}
