// The executable and its operator: through the socket, by sub-command, with a server and without one.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct AdministrationTests {
    @Test("the text lists of manifests, images and blobs are the original server's", .needs(.curl))
    func textLists() throws {
        let scene = try AdminScene()
        let server = try scene.serve()
        let header = "URL DIGEST  CREATED PULLED"
        #expect(try scene.curl("/cmd/manifest/list").lines == [header] + scene.manifestLines)
        #expect(try scene.curl("/cmd/manifest/list?count=2").lines == [header] + scene.manifestLines[..<2])
        #expect(
            try scene.curl("/cmd/manifest/list?pattern=app,V2$&count=-1").lines == [header] + scene.manifestLines[2...])
        #expect(try scene.curl("/cmd/manifest/list?pattern=nothing").body == "no manifests found")
        // An index has no blobs of its own, and is not among these.
        let images = try scene.curl("/cmd/image/list").lines
        #expect(images.count == 11 && images[0] == header)
        for (line, manifest, image) in [(1, 1, scene.third), (4, 2, scene.first), (8, 3, scene.second)] {
            #expect(images[line] == scene.manifestLines[manifest])
            let blobs = image.blobs.map { "- \(digestOf($0))" }
            #expect(Set(images[(line + 1)...(line + blobs.count)]) == Set(blobs))
        }
        let part = digestOf(scene.second.layers[0]).hex.prefix(12)
        #expect(try scene.curl("/cmd/image/list?digest=\(part)").lines == [header] + images[8...])
        #expect(try scene.curl("/cmd/image/list?digest=nothing").body == "no manifests found")
        let blobs = [scene.first, scene.second, scene.third].flatMap(\.blobs).map { "\(digestOf($0)) 1" }.sorted()
        #expect(try scene.curl("/cmd/blob/list").lines == ["URL REFCNT"] + blobs)
        #expect(try scene.curl("/cmd/blob/list?substr=\(part)").lines.count == 2)
        #expect(try scene.curl("/cmd/blob/list?substr=nothing").body == "no blobs found")
        // Wrong questions.
        let wrong = try scene.curl("/cmd/manifest/list?pattern=(a")
        #expect(wrong.status == 400 && wrong.body.hasPrefix("pattern '(a', at 2: "))
        #expect(try scene.curl("/cmd/nothing").status == 404)
        #expect(try scene.curl("/cmd/manifest/list", ["-X", "DELETE"]).status == 405)
        #expect(try scene.curl("/cmd/stop", ["-I"]).status == 405)
        // The same as JSON.
        let json = try scene.curl("/cmd/manifest/list?pattern=team", ["-H", "Accept: application/json"])
        #expect(json.body.hasPrefix("{\"images\":[{\"name\":\"docker.io/team/app:v1\"") && json.status == 200)
        let error = try scene.curl("/cmd/prune", ["-X", "DELETE", "-H", "Accept: application/json"])
        #expect(error.status == 400 && error.body.hasPrefix("{\"errors\":["))
        #expect(try server.stop() == 0)
    }

    @Test("list, prune and stop act on the running server", .needs(.curl)) func runningServer() throws {
        let scene = try AdminScene()
        let server = try scene.serve()
        let header = "IMAGE TAG/DIGEST TYPE CREATED PULLED SIZE(MB)"
        #expect(try scene.run(["list", "--header"]).text == ([header] + scene.tableLines).map { "\($0)\n" }.joined())
        #expect(
            try scene.run(["list", "--pattern", "^docker"]).text == scene.tableLines[..<3].map { "\($0)\n" }.joined())
        // A dry run changes nothing.
        let dry = try scene.run(["prune", "--pattern", "a/b/c", "--dry-run"])
        #expect(dry.status == 0)
        #expect(dry.text.hasPrefix("would prune registry.example:5000/a/b/c:V2\nwould prune 1 image, 2 blobs, 0.2 MB"))
        #expect(try scene.run(["list"]).text == scene.tableLines.map { "\($0)\n" }.joined())
        // What has just been pulled stays, and is named.
        let path = "/v2/registry.example:5000/a/b/c/manifests/V2"
        #expect(try scene.curl(path, at: server.address).status == 200)
        let kept = try scene.run(["prune", "--pattern", "a/b/c"])
        #expect(kept.text.hasPrefix("skipped registry.example:5000/a/b/c:V2\npruned 0 images") && kept.status == 0)
        let wouldGo = try scene.run(["prune", "--pattern", "a/b/c", "--force", "--dry-run"])
        #expect(wouldGo.text.hasPrefix("would prune registry.example:5000/a/b/c:V2\nwould prune 1 image, 2 blobs"))
        #expect(try scene.run(["prune", "--pattern", "team/app"]).text.hasPrefix("pruned docker.io/team/app:v1\n"))
        let again = try scene.curl("/v2/docker.io/team/app/manifests/v1", at: server.address)
        #expect(again.status == 404)
        let pruned = try scene.curl("/cmd/prune?type=created&dur=1d", ["-X", "DELETE"])
        #expect(
            pruned.lines == [
                "pruned docker.io/library/debian:12", "pruned docker.io/library/debian@\(scene.third.digest)",
                "skipped registry.example:5000/a/b/c:V2",
            ])
        let forced = try scene.curl("/cmd/prune?type=created&dur=1d&force=true", ["-X", "DELETE"])
        #expect(forced.lines == ["pruned registry.example:5000/a/b/c:V2"])
        #expect(try scene.curl(path, at: server.address).status == 404)
        #expect(try scene.curl("/cmd/stop").body == "stopping\n")
        #expect(try server.process.wait() == 0)
        #expect(!FileManager.default.fileExists(atPath: scene.socket))
        // Who asked is in the log.
        let log = server.process.errors.lines.filter { $0.contains("WARN") }
        #expect(
            log.contains { $0.contains("DELETE /cmd/prune?type=pattern&expr=team%2Fapp") && $0.contains("unix:uid=") })
        #expect(log.contains { $0.contains("GET /cmd/stop") && $0.contains(" id=") })
    }

    @Test("list and prune work on the cache when no server is running") func withoutServer() throws {
        let scene = try AdminScene()
        #expect(try scene.run(["list"]).text == scene.tableLines.map { "\($0)\n" }.joined())
        let json = try scene.run(["list", "--json", "--pattern", "team"])
        #expect(
            json.text.hasPrefix("{\"images\":[{\"name\":\"docker.io/team/app:v1\"")
                && json.text.contains("\"blobs\":[{"))
        // Before the second came: the first.
        let date = LocalTime.text(AdminScene.start + AdminScene.day)
        let byDate = try scene.run(["prune", "--date", date])
        let debian = "docker.io/library/debian"
        #expect(
            byDate.text
                == "pruned \(debian):12\npruned \(debian)@\(scene.third.digest)\npruned 2 images, 2 blobs, 0.1 MB\n")
        let unused = try scene.run(["prune", "--unused-for", "1d", "--dry-run"])
        #expect(
            unused.text.hasPrefix("would prune docker.io/team/app:v1\nwould prune registry.example:5000/a/b/c:V2\n"))
        #expect(try scene.run(["prune", "--unused-for", "36500d"]).text == "pruned 0 images, 0 blobs, 0.0 MB\n")
        #expect(try scene.run(["prune", "--pattern", "."]).status == 0)
        #expect(try scene.run(["list"]).text == "")
        #expect(try scene.run(["list", "--header", "--json"]).text == "{\"images\":[]}\n")
        let blobs = FileManager.default.enumerator(atPath: "\(scene.imagePath)/store-v1/blobs")?.compactMap {
            $0 as? String
        }
        #expect(blobs?.filter { $0.split(separator: "/").count == 3 } == [], "every layer has gone")
    }

    @Test("a failed list or prune has status 1 and the reason") func failures() throws {
        let scene = try AdminScene()
        func refusal(_ arguments: [String]) throws -> String {
            let result = try scene.run(arguments)
            #expect(result.status == 1 && result.output.isEmpty, "\(result)")
            return result.errors
        }
        #expect(try refusal(["list", "--pattern", "(a"]).contains("pattern '(a', at 2: "))
        let server = try scene.serve()
        #expect(try refusal(["list", "--pattern", "(a"]).contains("pattern '(a', at 2: "))
        #expect(try refusal(["prune", "--pattern", "x,"]).contains("an empty expression would match everything"))
        #expect(try server.stop() == 0)
        // A server that has the lock and no socket is not worked around.
        let holder = try LocalCache(imagePath: scene.imagePath)
        #expect(try refusal(["prune", "--pattern", "."]).contains("in use by another server"))
        withExtendedLifetime(holder) {}
        let none = try Command.run([Checkout.server, "list", "--image-path", scene.files.file("none")])
        #expect(none.status == 1 && none.errors.contains("no cache is there"))
    }

    /// The socket's name does not fit sockaddr_un here.
    @Test("the admin socket works where its path is too long for sockaddr_un", .needs(.curl))
    func longSocketPath() throws {
        let scene = try AdminScene(
            folder: (0..<3).map { "\($0)" + String(repeating: "d", count: 60) }.joined(separator: "/"))
        #expect(scene.socket.utf8.count > 108)
        let server = try scene.serve()
        var status = stat()
        #expect(lstat(scene.socket, &status) == 0 && status.st_mode == S_IFSOCK | 0o600)
        let note = try String(contentsOfFile: "\(scene.imagePath)/store-v1/LOCK", encoding: .utf8)
        #expect(note.hasSuffix("\nadmin \(scene.socket)\n"))
        #expect(try scene.curl("/cmd/manifest/list").lines.count == 5)
        #expect(try scene.run(["list"]).text == scene.tableLines.map { "\($0)\n" }.joined())
        #expect(try server.stop() == 0)
        #expect(lstat(scene.socket, &status) != 0)
    }

    /// An expression that takes for ever is given up, and nobody waits for it.
    @Test("a pattern that backtracks too much is a 400, and the server keeps answering", .needs(.curl))
    func hostilePatterns() throws {
        let scene = try AdminScene()
        let server = try scene.serve()
        let fixture = "(([a-z]+)+[/.]?)+$"
        for path in ["/cmd/manifest/list?pattern=", "/cmd/image/list?pattern=", "/cmd/prune?type=pattern&expr="] {
            let method = path.contains("prune") ? ["-X", "DELETE"] : []
            let answer = try scene.curl(path + PercentEncoding.encode(fixture), method)
            #expect(answer.status == 400 && answer.body.contains("it backtracks too much to be used"), "\(answer)")
        }
        #expect(try scene.run(["prune", "--pattern", fixture]).errors.contains("backtracks too much"))
        #expect(try scene.curl("/v2/", at: server.address).status == 200)
        #expect(try scene.curl("/cmd/manifest/list").lines.count == 5, "nothing was pruned")
        #expect(try server.stop() == 0)
    }
}
