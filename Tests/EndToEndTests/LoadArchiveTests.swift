// Archives that skopeo and podman write are loaded, no upstream is there, and skopeo and containerd pull them.

import Foundation
import TestSupport
import Testing

@Suite(.needs(.sampleImages, .zstd)) struct LoadArchiveTests {
    private let files: TemporaryDirectory
    private let upstream: DockerRegistry
    private let cache: CacheDirectory
    private let name = "docker.io/\(SampleImage.multi)"

    init() throws {
        files = try TemporaryDirectory()
        upstream = try DockerRegistry(storing: SampleImages.storage())
        cache = try CacheDirectory()
    }

    private func skopeo(_ arguments: String...) throws {
        try Command.check(
            ["skopeo", "--insecure-policy", "--tmpdir", files.path, "copy", "--quiet"] + arguments,
            environment: ["TMPDIR": files.path])
    }

    /// The upstream's image in an archive, and the upstream stopped.
    private func save(_ options: [String], to target: String) throws {
        let source = "docker://\(upstream.address)/\(SampleImage.multi)"
        try Command.check(
            ["skopeo", "--insecure-policy", "--tmpdir", files.path, "copy", "--quiet", "--src-tls-verify=false"]
                + options + [source, target])
        try upstream.stop()
    }

    private func raw(_ source: String) throws -> [UInt8] {
        try Command.check(["skopeo", "inspect", "--raw", "--tls-verify=false", source])
    }

    private func pull(_ image: String, from server: OciRegistryProcess) throws {
        let containerd = try Containerd()
        let hosts = try containerd.mirror(through: server.address)
        try containerd.ctr("images", "pull", "--hosts-dir", hosts, "--snapshotter", "native", image)
    }

    @Test(
        "a layout of all platforms is loaded and served byte for byte",
        .needs(.root, .containerd), arguments: ["oci-archive", "oci", "oci-archive.gz", "oci-archive.zst"])
    func allPlatforms(_ form: String) throws {
        let direct = files.file("direct")
        try skopeo(
            "--all", "--src-tls-verify=false", "docker://\(upstream.address)/\(SampleImage.multi)", "dir:\(direct)")
        let transport = form == "oci" ? "oci" : "oci-archive"
        var path = files.file("saved")
        try save(["--all"], to: "\(transport):\(path):\(name)")
        if form.hasSuffix(".gz") {
            try Command.check(["gzip", path])
            path += ".gz"
        } else if form.hasSuffix(".zst") {
            try Command.check(["zstd", "-q", path])
            path += ".zst"
        }
        let output = try cache.check("load", "--image-file", path, "--all-platforms")
        #expect(output.hasPrefix("1 loaded, 0 in the cache already;"))
        #expect(try cache.check("load", "--image-file", path, "--all-platforms").hasPrefix("0 loaded, 1 in"))

        let server = try cache.serveAirGapped()
        try skopeo("--all", "--src-tls-verify=false", "docker://\(server.address)/\(name)", "dir:\(files.file("got"))")
        try Command.check(["diff", "-r", direct, files.file("got")])
        try pull(name, from: server)
        #expect(try server.stop() == 0)
    }

    /// One platform of three: the index is the registry's, and that platform's client gets its image.
    @Test("one platform of a layout is loaded and served with the original index") func onePlatform() throws {
        let path = files.file("saved")
        try save(["--all"], to: "oci-archive:\(path):\(name)")
        try cache.check("load", "--image-file", path, "--arch", "arm64")
        let server = try cache.serveAirGapped()
        try skopeo(
            "--override-arch", "arm64", "--src-tls-verify=false", "docker://\(server.address)/\(name)",
            "dir:\(files.file("got"))")
        let other = try Command.run([
            "skopeo", "--insecure-policy", "--override-arch", "s390x", "copy", "--quiet", "--src-tls-verify=false",
            "docker://\(server.address)/\(name)", "dir:\(files.file("none"))",
        ])
        #expect(other.status != 0 && other.errors.contains("manifest unknown"), "\(other)")
        #expect(try server.stop() == 0)
        let wrong = try cache.run("load", "--image-file", path, "--arch", "mips")
        #expect(wrong.status == 1)
        #expect(wrong.errors.contains("\(path): \(name): "), "\(wrong)")
    }

    @Test(
        "an archive saved by podman is loaded and pulled with the same image id",
        .needs(.root, .containerd, .podman), arguments: ["docker-archive", "oci-archive"])
    func podmanSaves(_ format: String) throws {
        let podman = try Podman(registries: "unqualified-search-registries = []\n")
        let source = "\(upstream.address)/\(SampleImage.multi)"
        try podman("pull", "--quiet", "--tls-verify=false", source)
        let identifier = try podman("image", "inspect", "--format", "{{.Id}}", source)
        try podman("tag", source, "docker.io/library/saved:2")
        let path = files.file("saved.tar")
        try podman("save", "--quiet", "--format", format, "--output", path, "docker.io/library/saved:2")
        try upstream.stop()

        try cache.check("load", "--image-file", path)
        let server = try cache.serveAirGapped()
        let pulled = "\(server.address)/docker.io/library/saved:2"
        #expect(try podman("pull", "--quiet", "--tls-verify=false", pulled) == identifier)
        try pull("docker.io/library/saved:2", from: server)
        #expect(try server.stop() == 0)
    }

    /// Docker's old form has no registry manifest: one is made, the same every time.
    @Test("a docker-archive is loaded with the same manifest in every cache", .needs(.root, .containerd))
    func skopeoDockerArchive() throws {
        let path = files.file("docker.tar")
        try save([], to: "docker-archive:\(path):\(name)")
        var manifests: [[UInt8]] = []
        for cache in [cache, try CacheDirectory()] {
            try cache.check("load", "--image-file", path)
            let server = try cache.serveAirGapped()
            manifests.append(try raw("docker://\(server.address)/\(name)"))
            try pull(name, from: server)
            #expect(try server.stop() == 0)
        }
        #expect(manifests[0] == manifests[1])
    }

    @Test("an image without a name is loaded with the name from --resolve-ref") func namelessImage() throws {
        let path = files.file("nameless.tar")
        try save([], to: "oci-archive:\(path)")
        let nameless = try cache.run("load", "--image-file", path)
        #expect(nameless.status == 1)
        #expect(nameless.errors.contains("--resolve-ref"), "\(nameless)")
        try cache.check("load", "--image-file", path, "--resolve-ref", "quay.io/some/thing:1")
        let server = try cache.serveAirGapped()
        _ = try raw("docker://\(server.address)/quay.io/some/thing:1")
        #expect(try server.stop() == 0)
    }
}
