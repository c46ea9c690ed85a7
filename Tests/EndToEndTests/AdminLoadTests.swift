// `load` beside a running server: the server does it, and what the operator sees is what he would see without one.

import Foundation
import TestSupport
import Testing

@testable import Registry

@Suite(.needs(.sampleImages, .curl)) struct AdminLoadTests {
    private let fixture: LoadFixture

    init() throws { fixture = try LoadFixture() }

    /// `load` as run in a directory of its own, which is not the server's.
    private func load(in directory: String, _ arguments: String...) throws -> Command.Result {
        let command = "cd \"$0\" && exec \"$@\""
        return try Command.run(
            ["sh", "-c", command, directory, Checkout.server, "load", "--image-path", fixture.cache.imagePath]
                + arguments)
    }

    /// Names, globs and several files; what fails, with the names that were given; nothing twice; exit statuses.
    @Test("load hands image lists to the running server and reports each failure") func lists() throws {
        let place = try fixture.files.directory("a place [with] *")
        try fixture.files.write("multi:1.0\nmulti:none\n", to: "a place [with] */one.txt")
        try fixture.files.write("docker.io/library/classic\n", to: "a place [with] */two.txt")
        try fixture.files.write("fine/name:1\nnot an image\n", to: "a place [with] */wrong.list")
        let server = try OciRegistryProcess(upstreams: fixture.upstreams, imagePath: fixture.cache.imagePath)
        let first = try load(in: place, "--image-file", "*.txt,wrong.list")
        #expect(first.status == 1)
        #expect(first.text.hasPrefix("2 loaded, 0 in the cache already, 1 failed; "), "\(first)")
        #expect(first.errors.contains("loaded docker.io/library/multi:1.0\n"))
        #expect(first.errors.contains("failed: docker.io/library/multi:none\n"))
        #expect(first.errors.contains("\none.txt: docker.io/library/multi:none: manifest unknown"), "\(first)")
        #expect(first.errors.contains("\nwrong.list:2: not an image reference"), "\(first)")
        let again = try load(in: place, "--image-file", "two.txt")
        #expect(again.status == 0 && again.text == "0 loaded, 1 in the cache already; 0.0 MB\n", "\(again)")
        let absent = try load(in: place, "--image-file", "absent.txt")
        #expect(absent.status == 1 && absent.errors.contains("absent.txt: there is no such file, and none matches"))
        // The server that has done it serves it, its upstream gone.
        let asked = try fixture.upstream.stop().filter { $0.hasPrefix("GET ") && !$0.hasSuffix("/v2/") }
        #expect(Set(asked.filter { !$0.hasSuffix("/none") }).count == asked.filter { !$0.hasSuffix("/none") }.count)
        for image in [SampleImage.multi, .classic] {
            try fixture.copy("docker.io/\(image)", from: server, to: image.tag)
        }
        #expect(try server.stop() == 0)
        #expect(server.process.errors.text.contains("load ended"))
    }

    @Test("load hands archives to the running server, named or with --resolve-ref", arguments: [false, true])
    func archives(_ isNamed: Bool) throws {
        let name = "docker.io/\(SampleImage.multi)"
        try Command.check(
            [
                "skopeo", "--insecure-policy", "--tmpdir", fixture.files.path, "copy", "--quiet", "--all",
                "--src-tls-verify=false", "docker://\(fixture.upstream.address)/\(SampleImage.multi)",
                "oci-archive:\(fixture.files.file("saved.tar"))" + (isNamed ? ":\(name)" : ""),
            ], environment: ["TMPDIR": fixture.files.path])
        try fixture.upstream.stop()
        let server = try fixture.cache.serveAirGapped()
        if !isNamed {
            let refused = try load(in: fixture.files.path, "--image-file", "saved.tar", "--all-platforms")
            #expect(refused.status == 1 && refused.errors.contains("saved.tar: "), "\(refused)")
            #expect(refused.errors.contains("--resolve-ref does"), "\(refused)")
        }
        let resolve = isNamed ? "--all-platforms=true" : "--resolve-ref=\(name)"
        let loaded = try load(in: fixture.files.path, "--image-file", "saved.tar", "--all-platforms", resolve)
        #expect(loaded.status == 0 && loaded.text.hasPrefix("1 loaded, 0 in the cache already; "), "\(loaded)")
        let again = try load(in: fixture.files.path, "--image-file", "sav*", "--all-platforms", resolve)
        #expect(again.status == 0 && again.text.hasPrefix("0 loaded, 1 in the cache already; 0.0 MB"), "\(again)")
        try fixture.copy(name, from: server, to: "got", "--all")
        #expect(try fixture.cache.check("verify").hasSuffix("; 0 wrong\n"))
        #expect(try server.stop() == 0)
    }

    /// One whose upstream says nothing: a signal ends it in the server too, and the server goes on.
    @Test("a signal to load ends the load in the server, which keeps running", arguments: [SIGINT, SIGTERM])
    func signal(_ signal: Int32) throws {
        let silent = try fixture.startSilentLoad(inServer: true)
        let (load, server) = (silent.process, try #require(silent.server))
        #expect(load.stop(signal: signal) == 128 + signal)
        #expect(try load.wait() == 128 + signal)
        #expect(load.output.text.hasPrefix("0 loaded, 0 in the cache already; 0.0 MB; stopped before the end"))
        #expect(load.errors.text == "")
        _ = try server.process.line(containing: "load ended", in: server.process.errors)
        #expect(try fixture.cache.run("list").status == 0)
        #expect(try server.stop() == 0)
        try fixture.upstream.stop()
    }

    /// One who is killed cannot say so; that the connection has gone is enough.
    @Test("the server ends a load whose client was killed") func killedClient() throws {
        let silent = try fixture.startSilentLoad(inServer: true)
        let (load, server) = (silent.process, try #require(silent.server))
        load.stop(signal: SIGKILL)
        _ = try server.process.line(containing: "load ended", in: server.process.errors)
        #expect(try server.stop() == 0)
        try fixture.upstream.stop()
    }

    @Test("a stopping server ends its load, and the client reports that it stopped before the end")
    func stoppedServer() throws {
        let silent = try fixture.startSilentLoad(inServer: true)
        let (load, server) = (silent.process, try #require(silent.server))
        #expect(try server.stop() == 0)
        #expect(try load.wait() == 1)
        #expect(load.output.text.contains("; stopped before the end"), "\(load.output.text)\(load.errors.text)")
        try fixture.upstream.stop()
    }

    /// The bar moves while an image of another registry is waited for, goes at the end, and the sum stands alone.
    @Test("load draws a progress bar on a terminal, with and without a server", arguments: [false, true])
    func progressBar(_ isBesideAServer: Bool) throws {
        var silent: SilentSite? = try SilentSite()
        var all = fixture.upstreams
        all["silent.example"] = silent?.address
        let list = try fixture.files.write("multi:1.0\nsilent.example/none:1\n", to: "list")
        var configuration = "registries:\n"
        for (host, address) in all { configuration += "- {name: \(host), endpoint: \"http://\(address)\"}\n" }
        let file = try fixture.files.write(configuration, to: "config.yaml")
        let server = isBesideAServer ? try OciRegistryProcess(upstreams: all, imagePath: fixture.cache.imagePath) : nil
        let arguments = ["--config-file", file, "--image-path", fixture.cache.imagePath, "--image-file", list]
        let command = ([Checkout.server, "load"] + arguments).map { "'\($0)'" }.joined(separator: " ")
        // script(1) gives it a terminal, and what it writes there.
        let terminal = try ChildProcess(["script", "--quiet", "--return", "--command", command, "/dev/null"])
        #expect(terminal.output.wait(forText: "\r[########################] 1/2 images  "), "\(terminal.output.text)")
        silent = nil
        #expect(try terminal.wait() == 1)
        let text = terminal.output.text
        #expect(text.contains("] 0/") && text.contains(" images"), "\(text)")
        #expect(!text.contains("loaded docker.io/"), "lines are for others than terminals")
        let end = text.split(separator: "\u{1B}[K").last.map(String.init) ?? ""
        #expect(end.hasPrefix("\(list): silent.example/none:1: "), "\(text)")
        #expect(end.contains("\r\n1 loaded, 0 in the cache already, 1 failed; 1."), "\(text)")
        if let server { #expect(try server.stop() == 0) }
        try fixture.upstream.stop()
        withExtendedLifetime(silent) {}
    }

    /// It opens files of the server's by name: only who can open the socket may have that.
    @Test("load and verify are refused on every listener but the socket") func otherListeners() throws {
        let scene = try AdminScene()
        let server = try scene.serve(["--admin-listen", "127.0.0.1:0"])
        let address = try scene.adminAddress(of: server.process)
        for path in ["/cmd/verify", "/cmd/load?files=x&directory=/"] {
            let denied = try scene.curl(path, at: address, ["-X", "POST"])
            #expect(denied.status == 403 && denied.body.contains("for the socket"), "\(denied)")
            #expect(try scene.curl(path).status == 405)
        }
        #expect(try scene.curl("/cmd/load?files=x&directory=here", ["-X", "POST"]).status == 400)
        let lines = try scene.curl("/cmd/verify", ["-X", "POST"])
        #expect(lines.status == 200 && lines.lines.last?.hasPrefix("{\"ended\":") == true, "\(lines)")
        #expect(try server.stop() == 0)
        try fixture.upstream.stop()
    }

    /// What cannot be read is said, and is never an empty fixture.cache.
    @Test("list and prune report a cache that cannot be read instead of an empty one") func unreadableCache() throws {
        let scene = try AdminScene()
        let server = try scene.serve()
        let tags = "\(scene.imagePath)/store-v1/tags"
        try FileManager.default.moveItem(atPath: tags, toPath: "\(tags).away")
        for arguments in [["list"], ["list", "--json"], ["prune", "--pattern", "."]] {
            let result = try scene.run(arguments)
            #expect(result.status == 1 && result.output.isEmpty, "\(result)")
            #expect(result.errors.contains("\(tags): opendir: No such file or directory"), "\(result)")
        }
        for path in ["/cmd/manifest/list", "/cmd/image/list", "/cmd/blob/list"] {
            let text = try scene.curl(path)
            #expect(text.status == 500 && text.body == "\(tags): opendir: No such file or directory\n", "\(text)")
            let json = try scene.curl(path, ["-H", "Accept: application/json"])
            #expect(json.status == 500 && json.body.hasPrefix("{\"errors\":[{\"code\":\"UNKNOWN\""), "\(json)")
        }
        // A directory below that cannot be read leaves a hole that nobody would see.
        try FileManager.default.moveItem(atPath: "\(tags).away", toPath: tags)
        try FileManager.default.createSymbolicLink(atPath: "\(tags)/loop.example", withDestinationPath: "loop.example")
        let loop = try scene.run(["list"])
        #expect(loop.status == 1 && loop.errors.contains("loop.example: opendir: Too many levels"), "\(loop)")
        try FileManager.default.removeItem(atPath: "\(tags)/loop.example")
        #expect(try scene.run(["list"]).text.split(separator: "\n").count == 4)
        #expect(try server.stop() == 0)
        try fixture.upstream.stop()
    }
}
