// Images carried from one cache to another, which skopeo takes on the way: the digests stay.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite(.needs(.sampleImages)) struct ExportTests {
    private let files: TemporaryDirectory
    private let upstream: DockerRegistry
    private let cache: CacheDirectory

    init() throws {
        files = try TemporaryDirectory()
        upstream = try DockerRegistry(storing: SampleImages.storage())
        cache = try CacheDirectory()
    }

    private func load(_ names: String..., options: [String] = []) throws {
        let list = try files.write(names.joined(separator: "\n"), to: "list")
        let result = try Command.run(
            [Checkout.server, "load", "--image-file", list, "--image-path", cache.imagePath, "--config-file"]
                + [files.write("registries: [{name: docker.io, endpoint: 'http://\(upstream.address)'}]", to: "c.yaml")]
                + options)
        #expect(result.status == 0, "\(result)")
    }

    private func raw(_ source: String) throws -> [UInt8] {
        try Command.check(["skopeo", "inspect", "--raw", "--tls-verify=false", source])
    }

    private func copy(_ source: String, to name: String, _ options: [String] = ["--all"]) throws -> String {
        try Command.check(
            ["skopeo", "--insecure-policy", "--tmpdir", files.path, "copy", "--quiet", "--src-tls-verify=false"]
                + options + [source, "dir:\(files.file(name))"])
        return files.file(name)
    }

    @Test(
        "an export is loaded into another cache and served there byte for byte",
        .needs(.root, .containerd), arguments: ["out.tar", "out"])
    func roundTrip(_ output: String) throws {
        try load("multi:1.0", "classic", "docker.io/\(SampleImage.many)", options: ["--all-platforms"])
        let direct = try copy("docker://\(upstream.address)/\(SampleImage.multi)", to: "direct")
        let directClassic = try raw("docker://\(upstream.address)/\(SampleImage.classic)")
        let path = files.file(output)
        // Beside a server that serves from it.
        let server = try cache.serveAirGapped()
        let printed = try cache.check("export", "--pattern", "library/(multi|classic):", "--output", path)
        #expect(printed == "docker.io/library/classic:latest\ndocker.io/library/multi:1.0\n")
        #expect(try server.stop() == 0)
        try upstream.stop()

        let transport = output.hasSuffix(".tar") ? "oci-archive" : "oci"
        let carried = try copy("\(transport):\(path):docker.io/\(SampleImage.multi)", to: "carried")
        try Command.check(["diff", "-r", direct, carried])

        let there = try CacheDirectory()
        #expect(try there.check("load", "--image-file", path, "--all-platforms").hasPrefix("2 loaded, 0 in"))
        let second = try there.serveAirGapped()
        let got = try copy("docker://\(second.address)/docker.io/\(SampleImage.multi)", to: "got")
        try Command.check(["diff", "-r", direct, got])
        #expect(try raw("docker://\(second.address)/docker.io/\(SampleImage.classic)") == directClassic)
        let containerd = try Containerd()
        if output.hasSuffix(".tar") {
            // skopeo passes over images of docker's own types in a layout; containerd does not.
            try containerd.ctr("images", "import", "--no-unpack", "--all-platforms", path)
            let digest = Array(directClassic).withUnsafeBytes { Digest.of($0) }
            let found = try containerd.ctr("images", "list", "name==docker.io/\(SampleImage.classic)")
            #expect(found.contains("\(digest)"), "\(found)")
        }
        let hosts = try containerd.mirror(through: second.address)
        try containerd.ctr(
            "images", "pull", "--hosts-dir", hosts, "--snapshotter", "native", "docker.io/\(SampleImage.multi)")
        #expect(try second.stop() == 0)

        // Out of the second cache the same bytes come.
        try there.check("export", "multi:1.0", "classic", "--output", files.file("again-\(output)"))
        try Command.check(["diff", "-r", path, files.file("again-\(output)")])
    }

    /// One platform of three is in the cache: the index is carried as it is, with that one.
    @Test("an index with one cached platform is exported with the index unchanged") func onePlatform() throws {
        try load("multi:1.0", options: ["--arch", "arm64"])
        let index = try raw("docker://\(upstream.address)/\(SampleImage.multi)")
        try upstream.stop()
        try cache.check("export", "multi:1.0", "--output", files.file("out.tar"))
        let there = try CacheDirectory()
        try there.check("load", "--image-file", files.file("out.tar"), "--arch", "arm64")
        let server = try there.serveAirGapped()
        let source = "docker://\(server.address)/docker.io/\(SampleImage.multi)"
        #expect(try raw(source) == index)
        _ = try copy(source, to: "got", ["--override-arch", "arm64"])
        #expect(try server.stop() == 0)
    }

    @Test("an export that cannot be complete fails with the reason and writes no file") func failures() throws {
        try load("multi:1.0")
        try upstream.stop()
        let output = files.file("out.tar")
        let absent = try cache.run("export", "multi:1.0", "multi:2.0", "--output", output)
        #expect(absent.status == 1)
        #expect(absent.errors == "docker.io/library/multi:2.0: is not in the cache\n")
        #expect(try cache.run("export", "--pattern", "nothing", "--output", output).status == 1)
        #expect(try cache.run("export", "--pattern", "(", "--output", output).status == 64)
        #expect(try cache.run("export", "--output", output).status == 64)
        #expect(!FileManager.default.fileExists(atPath: output))

        // A layer has gone: the image is not whole.
        let blobs = cache.contentFiles(of: "blobs")
        try FileManager.default.removeItem(atPath: blobs[0])
        let broken = try cache.run("export", "multi:1.0", "--output", output)
        #expect(broken.status == 1 && broken.errors.contains("blobs are not in the cache"), "\(broken)")
        #expect(!FileManager.default.fileExists(atPath: output))
        try files.write("mine", to: "out.tar")
        #expect(try cache.run("export", "--pattern", ".", "--output", output).status == 1)
        #expect(try String(contentsOfFile: output, encoding: .utf8) == "mine")
    }
}
