// Lists of references, loaded from a real registry; what fails, what is there already, and who holds the fixture.cache.

import Foundation
import TestSupport
import Testing

@Suite(.needs(.sampleImages)) struct LoadListTests {
    private let fixture: LoadFixture

    init() throws { fixture = try LoadFixture() }

    @Test("a list is loaded once and served in an air gap", .needs(.root, .containerd)) func list() throws {
        let list = try fixture.files.write("# images\nmulti:1.0\n\ndocker.io/\(SampleImage.many)\n", to: "list.txt")
        try fixture.files.write("docker.io/library/classic\n", to: "other.txt")
        let text = "\(list),\(fixture.files.path)/oth*.txt"
        let first = try fixture.cache.run("load", "--image-file", text, upstreams: fixture.upstreams)
        #expect(first.status == 0, "\(first)")
        #expect(first.text.hasPrefix("3 loaded, 0 in the cache already;"))
        #expect(first.errors.contains("loaded docker.io/library/multi:1.0\n"))
        let asked = try fixture.upstream.stop().filter { $0.hasPrefix("GET ") && !$0.hasSuffix("/v2/") }
        #expect(Set(asked).count == asked.count, "asked twice")

        // The upstream is gone, and nobody needs it.
        let again = try fixture.cache.run("load", "--image-file", text, upstreams: fixture.upstreams)
        #expect(again.status == 0 && again.text.hasPrefix("0 loaded, 3 in the cache already; 0.0 MB"), "\(again)")
        let server = try fixture.cache.serveAirGapped()
        for image in SampleImage.all {
            try fixture.copy("docker.io/\(image)", from: server, to: image.tag)
        }
        let containerd = try Containerd()
        let hosts = try containerd.mirror(through: server.address)
        try containerd.ctr(
            "images", "pull", "--hosts-dir", hosts, "--snapshotter", "native", "docker.io/\(SampleImage.many)")
        #expect(try server.stop() == 0)
    }

    @Test("load --all-platforms caches every platform of an index") func allPlatforms() throws {
        let list = try fixture.files.write("\(SampleImage.multi)\n", to: "list")
        try fixture.cache.check("load", "--image-file", list, "--all-platforms", upstreams: fixture.upstreams)
        try fixture.upstream.stop()
        let server = try fixture.cache.serveAirGapped()
        try fixture.copy("docker.io/\(SampleImage.multi)", from: server, to: "all", "--all")
        #expect(try server.stop() == 0)
    }

    @Test("images and lines that fail are reported, and the others are loaded") func failures() throws {
        let list = try fixture.files.write("multi:1.0\nmulti:none\nlibrary/nowhere:1\n", to: "list.txt")
        let wrong = try fixture.files.write("fine/name:1\nnot an image\nA:B:C\n", to: "wrong.txt")
        let noise = try fixture.files.write([0, 1, 2, 3], to: "noise.bin")
        let text = "\(list),\(wrong),\(noise),\(fixture.files.path)/absent.txt"
        let missing = try fixture.cache.run("load", "--image-file", text, upstreams: fixture.upstreams)
        #expect(missing.status == 1)
        #expect(missing.errors.contains("absent.txt"))

        let result = try fixture.cache.run(
            "load", "--image-file", "\(list),\(wrong),\(noise)", upstreams: fixture.upstreams)
        #expect(result.status == 1)
        #expect(result.text.hasPrefix("1 loaded, 0 in the cache already, 2 failed;"), "\(result)")
        #expect(result.errors.contains("\(list): docker.io/library/multi:none: manifest unknown"))
        #expect(result.errors.contains("\(list): docker.io/library/nowhere:1: "))
        #expect(result.errors.contains("\n\(wrong):2: not an image reference"))
        #expect(result.errors.contains("\n\(wrong):3: not an image reference"))
        #expect(result.errors.contains("\n\(noise): neither an image tarball"))
        try fixture.upstream.stop()
    }

    /// A platform that an index does not have is said so, with those that it has.
    @Test("a platform that is missing from an index is reported with those it has") func missingPlatform() throws {
        let list = try fixture.files.write("multi:1.0\n", to: "list")
        let result = try fixture.cache.run(
            "load", "--image-file", list, "--arch", "mips64le", upstreams: fixture.upstreams)
        #expect(result.status == 1)
        #expect(result.errors.contains("no image for linux/mips64le; there are linux/amd64, linux/arm64, linux/s390x"))
        try fixture.upstream.stop()
    }

    /// Whoever has the lock and no socket cannot be asked.
    @Test("load on a cache whose lock is held and has no socket ends with status 75") func lockedCache() throws {
        let holder = try LocalCache(imagePath: fixture.cache.imagePath)
        let list = try fixture.files.write("multi:1.0\n", to: "list")
        let result = try fixture.cache.run("load", "--image-file", list, upstreams: fixture.upstreams)
        #expect(result.status == 75)
        #expect(result.errors.contains("this cache is in use (pid \(getpid()), "), "\(result)")
        withExtendedLifetime(holder) {}
        try fixture.upstream.stop()
    }

    /// An upstream that takes the connection and says nothing: the load waits, and ends when it is told to.
    @Test("a signal ends load with a summary and the signal's status", arguments: [SIGINT, SIGTERM])
    func signal(_ signal: Int32) throws {
        let silent = try fixture.startSilentLoad(inServer: false)
        let load = silent.process
        #expect(load.stop(signal: signal) == 128 + signal)
        #expect(try load.wait() == 128 + signal)
        #expect(load.output.text.hasPrefix("0 loaded, 0 in the cache already; 0.0 MB; stopped before the end"))
        #expect(load.errors.text == "")
        try fixture.upstream.stop()
    }

    @Test("load without --image-file is a usage error") func missingFile() throws {
        let result = try fixture.cache.run("load")
        #expect(result.status == 64 && result.errors.contains("--image-file"))
        try fixture.upstream.stop()
    }

    @Test("a server with preloadImages loads the list and logs what failed") func preload() throws {
        let list = try fixture.files.write("multi:1.0\nmulti:none\n", to: "list.txt")
        let server = try OciRegistryProcess(
            upstreams: fixture.upstreams, imagePath: fixture.cache.imagePath, arguments: ["--preload-images", list])
        let end = try server.process.line(containing: "preload ended", in: server.process.errors)
        #expect(end.contains("loaded=1") && end.contains("failed=1"), "\(end)")
        let failure = try server.process.line(containing: "preload failed", in: server.process.errors)
        #expect(failure.contains("ERROR") && failure.contains("docker.io/library/multi:none"), "\(failure)")
        #expect(try server.stop() == 0)
        try fixture.upstream.stop()
        let alone = try fixture.cache.serveAirGapped()
        try fixture.copy("docker.io/\(SampleImage.multi)", from: alone, to: "multi")
        #expect(try alone.stop() == 0)
    }
}
