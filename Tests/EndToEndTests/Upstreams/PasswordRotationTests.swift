// A password that is replaced while images are pulled.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite(.needs(.dockerRegistry)) struct PasswordRotationTests {
    private static let repository = "team/rotated"
    private static let images = (0..<20).map { FakeImage(layerBytes: [2000], seed: UInt64(1000 + $0)) }
    private static let pullCount = 100
    private static let concurrency = 4

    /// The password file of the server, and the users of the registry.
    private final class Rotation {
        private let files: TemporaryDirectory
        private let lines: [String]
        private(set) var number = 0

        /// - Parameter count: the passwords after the first one.
        init(count: Int) throws {
            files = try TemporaryDirectory()
            lines = try (0...count).map { try Htpasswd.line(user: "me", password: "password-\($0)") }
            try place()
        }

        var passwordFile: String { files.file("password") }
        var users: String { files.file("htpasswd") }
        var isOver: Bool { number == lines.count - 1 }

        /// The next password: first in the file, then at the registry.
        func rotate() throws {
            number += 1
            try place()
        }

        private func place() throws {
            try replace("password", with: "password-\(number)\n")
            try replace("htpasswd", with: lines[number])
        }

        /// By a rename, as mounted secrets change. The registry notices another time of the file, and two changes may
        /// come within one tick of the kernel's clock.
        private func replace(_ name: String, with text: String) throws {
            let new = try files.write(text, to: "\(name).new")
            let time = Date(timeIntervalSince1970: 1_700_000_000 + Double(number))
            try FileManager.default.setAttributes([.modificationDate: time], ofItemAtPath: new)
            #expect(rename(new, files.file(name)) == 0)
        }
    }

    @Test("a password that is replaced ten times during a hundred pulls fails none of them") func rotation() throws {
        let storage = try RegistryStorage()
        for (index, image) in Self.images.enumerated() {
            let numbers = stride(from: index, to: Self.pullCount, by: Self.images.count)
            try storage.add(image, repository: Self.repository, tags: numbers.map { "v\($0)" })
        }
        let rotation = try Rotation(count: 10)
        let registry = try DockerRegistry(
            storing: storage.path, settings: "auth: {htpasswd: {realm: rotated, path: \"\(rotation.users)\"}}")
        let run = try LoopRun()
        let server = try OciRegistryProcess(
            registries: """
                - name: registry.test
                  endpoint: http://\(registry.address)
                  auth: {user: me, passwordFile: "\(rotation.passwordFile)"}

                """, arguments: ["--no-prefetch-layers"])
        let puller = try MirrorPuller(server, on: run)
        var (started, ended) = (0, 0)
        func startNext() {
            guard started < Self.pullCount else { return }
            let number = started
            let image = Self.images[number % Self.images.count]
            started += 1
            puller.pull(image, from: "registry.test/\(Self.repository)", tag: "v\(number)") { wrong in
                #expect(wrong?.status == nil, "v\(number): \(wrong?.status ?? 0) \(wrong?.text ?? "")")
                ended += 1
                // Other pulls are in progress now.
                if ended % 9 == 0, !rotation.isOver { #expect(throws: Never.self) { try rotation.rotate() } }
                startNext()
            }
        }
        for _ in 0..<Self.concurrency { startNext() }
        run.wait { ended == Self.pullCount }
        #expect(rotation.isOver)
        #expect(try server.stop() == 0)
        try registry.stop()
        let refusals = registry.count(of: "error authenticating user")
        #expect((10...(10 * Self.concurrency)).contains(refusals), "the old passwords were refused \(refusals) times")
        run.close()
    }
}
