// A volume whose group may write it, and users that change, as on platforms that give each project a user id of its
// own: the next user serves, fills and administers what the one before has left.

import Foundation
import Glibc
import TestSupport
import Testing

@Suite(.needs(.root, .setpriv, .sampleImages)) struct SharedVolumeTests {
    /// Without an entry in passwd or group.
    private static let (first, second, group): (uid_t, uid_t, gid_t) = (1_000_740_000, 1_000_990_000, 1_000_650_000)

    private let files: TemporaryDirectory
    private let volume: String
    private var store: String { "\(volume)/store-v1" }

    init() throws {
        files = try TemporaryDirectory()
        volume = try files.directory("volume")
        // What mkfs leaves on a volume is left alone.
        mkdir("\(volume)/lost+found", 0o700)
        #expect(chmod(files.path, 0o755) == 0 && chown(volume, 0, Self.group) == 0 && chmod(volume, 0o2775) == 0)
    }

    /// Runs a program as a user of the group, without any capability. The umask takes all rights from others, and the
    /// right to write from the group.
    private func launcher(_ user: uid_t) -> [String] {
        [
            "setpriv", "--reuid", "\(user)", "--regid", "\(Self.group)", "--clear-groups", "--bounding-set=-all",
            "--no-new-privs", "sh", "-c", "umask 027; exec \"$@\"", "sh",
        ]
    }

    private func serve(_ user: uid_t, _ upstream: DockerRegistry) throws -> OciRegistryProcess {
        try OciRegistryProcess(
            upstreams: ["docker.io": upstream.address], imagePath: volume, launcher: launcher(user))
    }

    private func list(_ user: uid_t) throws -> Command.Result {
        try Command.run(launcher(user) + [Checkout.server, "list", "--image-path", volume])
    }

    private func pull(_ image: SampleImage, _ server: OciRegistryProcess) throws {
        try Command.check([
            "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
            "docker://\(server.address)/docker.io/\(image)", "dir:\(files.file(UUID().uuidString))",
        ])
    }

    private func expectQuiet(_ server: OciRegistryProcess, _ location: SourceLocation = #_sourceLocation) {
        let lines = server.process.errors.lines.filter { $0.contains("WARN") || $0.contains("ERROR") }
        #expect(lines.isEmpty, "\(lines)", sourceLocation: location)
    }

    private func status(_ path: String) -> stat {
        var status = stat()
        #expect(lstat(path, &status) == 0, "\(path)")
        return status
    }

    @Test("another user of the group serves and fills the cache of the first one") func takesOver() throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let images = Array(SampleImage.all.prefix(2))
        let one = try serve(Self.first, upstream)
        try pull(images[0], one)
        #expect(status("\(store)/ADMIN").st_mode & 0o777 == 0o600)
        // A server that is killed leaves its socket.
        one.process.stop(signal: SIGKILL)
        expectQuiet(one)
        let two = try serve(Self.second, upstream)
        for image in images { try pull(image, two) }
        #expect(status("\(store)/ADMIN").st_uid == Self.second && status("\(store)/ADMIN").st_mode & 0o777 == 0o600)
        #expect(try list(Self.second).text.split(separator: "\n").count >= 2)
        #expect(try two.stop() == 0)
        expectQuiet(two)
        let three = try serve(Self.first, upstream)
        for image in images { try pull(image, three) }
        #expect(try three.stop() == 0)
        expectQuiet(three)
        let asked = try upstream.stop().filter { $0.hasPrefix("GET ") && $0.contains("/blobs/") }
        #expect(!asked.isEmpty && Set(asked).count == asked.count, "nothing was asked for twice")
        for case let name as String in FileManager.default.enumerator(atPath: store) ?? .init() {
            let status = status("\(store)/\(name)")
            let bits: mode_t = status.st_mode & S_IFMT == S_IFDIR ? 0o2070 : 0o060
            #expect(status.st_mode & bits == bits && status.st_gid == Self.group, "\(name)")
        }
    }

    @Test("a lock and a socket left by another user are replaced, unless the lock is held")
    func leftOvers() throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let one = try serve(Self.first, upstream)
        try pull(SampleImage.all[0], one)
        one.process.stop(signal: SIGKILL)
        // As a former release leaves it.
        #expect(chmod("\(store)/LOCK", 0o644) == 0)
        let held = open("\(store)/LOCK", O_RDONLY | O_CLOEXEC)
        #expect(flock(held, LOCK_EX | LOCK_NB) == 0)
        let refused = try list(Self.second)
        #expect(refused.status == 1 && refused.errors.contains("in use by another server (pid "), "\(refused)")
        #expect(status("\(store)/LOCK").st_uid == Self.first)
        close(held)
        let listed = try list(Self.second)
        #expect(listed.status == 0 && !listed.text.isEmpty, "\(listed)")
        #expect(status("\(store)/LOCK").st_uid == Self.second)
    }

    @Test("a cache that only another user may access stops the start and says what to do") func othersAlone() throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let one = try serve(Self.first, upstream)
        try pull(SampleImage.all[0], one)
        #expect(try one.stop() == 0)
        try Command.check(["chmod", "-R", "g-w", store])
        let refused = try Command.run(
            launcher(Self.second) + [
                Checkout.server, "serve", "--image-path", volume, "--host", "127.0.0.1", "--port", "0",
            ])
        #expect(refused.status == 1)
        #expect(refused.errors.contains("store-v1: is uid \(Self.first)'s"), "\(refused)")
        #expect(refused.errors.contains("chmod -R g+rwX"), "\(refused)")
        // The first one's next start gives it to the group again, and then the second's succeeds.
        let again = try serve(Self.first, upstream)
        _ = try again.process.line(containing: " partial files, ", in: again.process.errors)
        #expect(try again.stop() == 0)
        let two = try serve(Self.second, upstream)
        try pull(SampleImage.all[0], two)
        #expect(try two.stop() == 0)
    }
}
