// Log rotation and a log that fails, seen by a client of the running server: images are served whatever becomes of the
// log.

import Foundation
import TestSupport
import Testing

@Suite(.needs(.curl)) struct LogRotationTests {
    /// A server whose log is a file of the test's own, in a directory that the test may move.
    private final class Scene {
        let files: TemporaryDirectory
        let server: OciRegistryProcess
        private var requests = 0

        init(logFile: String? = nil) throws {
            files = try TemporaryDirectory()
            let log = try logFile ?? files.directory("logs") + "/server.log"
            server = try OciRegistryProcess(
                arguments: ["--hello-world", "--air-gapped", "--log-file", log])
        }

        var log: String { files.file("logs/server.log") }

        /// Pulls a manifest.
        /// - Returns: the request's id, which its line in the log has.
        func pull() throws -> String {
            requests += 1
            let id = "request-\(requests)"
            let status = try Command.check([
                "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "X-Request-Id: \(id)",
                "http://\(server.address)/v2/docker.io/library/hello-world/manifests/latest",
            ])
            #expect(String(decoding: status, as: UTF8.self) == "200")
            return id
        }

        /// Pulls until a file has a line of one of these pulls.
        func pulls(appearIn path: String) throws -> Bool {
            var ids: Set<String> = []
            for _ in 0..<500 {
                ids.insert(try pull())
                let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
                if ids.contains(where: { text.contains("id=\($0) ") || text.contains("id=\($0)\n") }) { return true }
            }
            return false
        }

        func hangUp() { kill(server.process.processID, SIGHUP) }
    }

    @Test("after a rename and SIGHUP, lines go to a new file and no longer to the old one")
    func renameAndHangUp() throws {
        let scene = try Scene()
        #expect(try scene.pulls(appearIn: scene.log))
        try FileManager.default.moveItem(atPath: scene.log, toPath: scene.files.file("old.log"))
        #expect(try scene.pulls(appearIn: scene.files.file("old.log")), "until SIGHUP the old file is written")
        scene.hangUp()
        #expect(try scene.pulls(appearIn: scene.log))
        let old = try Data(contentsOf: URL(fileURLWithPath: scene.files.file("old.log")))
        #expect(try scene.pulls(appearIn: scene.log))
        #expect(try Data(contentsOf: URL(fileURLWithPath: scene.files.file("old.log"))) == old)
        #expect(try scene.server.stop() == 0)
    }

    @Test("a log truncated in place continues from its beginning, without a hole")
    func copyAndTruncate() throws {
        let scene = try Scene()
        #expect(try scene.pulls(appearIn: scene.log))
        #expect(truncate(scene.log, 0) == 0)
        #expect(try scene.pulls(appearIn: scene.log))
        let bytes = try Data(contentsOf: URL(fileURLWithPath: scene.log))
        #expect(bytes.first != 0 && bytes.count < 64 * 1024)
        #expect(try scene.server.stop() == 0)
    }

    @Test("SIGHUP keeps the open log while its directory is missing, and a later SIGHUP reopens it")
    func missingDirectory() throws {
        let scene = try Scene()
        #expect(try scene.pulls(appearIn: scene.log))
        let (logs, away) = (scene.files.file("logs"), scene.files.file("away"))
        try FileManager.default.moveItem(atPath: logs, toPath: away)
        scene.hangUp()
        #expect(try scene.pulls(appearIn: "\(away)/server.log"))
        #expect(!FileManager.default.fileExists(atPath: logs))
        try FileManager.default.createDirectory(atPath: logs, withIntermediateDirectories: false)
        scene.hangUp()
        #expect(try scene.pulls(appearIn: scene.log))
        #expect(try scene.server.stop() == 0)
    }

    @Test("a full disk loses log lines but no requests, and the server stops cleanly")
    func fullDisk() throws {
        let scene = try Scene(logFile: "/dev/full")
        for _ in 0..<3 { _ = try scene.pull() }
        scene.hangUp()
        for _ in 0..<3 { _ = try scene.pull() }
        #expect(try scene.server.stop() == 0)
    }

    @Test("SIGHUP without a log file changes nothing")
    func hangUpWithoutAFile() throws {
        let server = try OciRegistryProcess(arguments: ["--hello-world", "--air-gapped"])
        kill(server.process.processID, SIGHUP)
        let answer = try Command.check(["curl", "-sf", "http://\(server.address)/v2/"])
        #expect(!answer.isEmpty)
        #expect(try server.stop() == 0)
    }

    /// What stands at the reading end of standard error.
    enum Reader: String, CaseIterable {
        /// It reads the banner and ends.
        case leaves = "head -n 1 >&2"
        /// It reads the banner and then nothing more, so that the pipe fills.
        case stops = "head -n 1 >&2; exec tail -f /dev/null"
    }

    @Test("requests are answered whatever the reader of standard error does", arguments: Reader.allCases)
    func standardError(_ reader: Reader) throws {
        let files = try TemporaryDirectory()
        let process = try ChildProcess([
            "bash", "-c", "exec \"$0\" \"$@\" 2> >(\(reader.rawValue))",
            Checkout.server, "serve", "--host", "127.0.0.1", "--port", "0", "--hello-world", "--air-gapped",
            "--log-level", "debug", "--image-path", files.file("images"),
        ])
        let mark = "listening on http://"
        let banner = try process.line(containing: mark, in: process.errors)
        let address = String(banner.components(after: mark).prefix { !$0.isWhitespace })
        let url = "http://\(address)/v2/docker.io/library/hello-world/manifests/latest"
        // Of a pipe that nobody reads, the kernel keeps 64 KiB: some 400 lines.
        let answers = try Command.check([
            "curl", "-s", "--max-time", "60", "-o", "/dev/null", "-w", "%{http_code}\n", "\(url)?[1-2000]",
        ])
        #expect(String(decoding: answers, as: UTF8.self).split(separator: "\n").allSatisfy { $0 == "200" })
        process.stop()
        // The log's last lines are given up after two seconds; the end is in order all the same.
        #expect(try process.wait() == 0)
    }
}
