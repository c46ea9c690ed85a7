// What the suites of `load` have in common.

import TestSupport

/// A registry with the sample images that stands for Docker Hub, a cache directory, and files of the test.
struct LoadFixture {
    let files: TemporaryDirectory
    let upstream: DockerRegistry
    let cache: CacheDirectory
    /// For `OciRegistryProcess` and the sub-commands.
    var upstreams: [String: String] { ["docker.io": upstream.address] }

    init() throws {
        files = try TemporaryDirectory()
        upstream = try DockerRegistry(storing: SampleImages.storage())
        cache = try CacheDirectory()
    }

    /// A load of an image whose upstream accepts the connection and never answers.
    struct SilentLoad {
        let process: ChildProcess
        /// The running server that loads; nil when the sub-command does.
        let server: OciRegistryProcess?
        fileprivate let site: SilentSite
    }

    /// Starts such a load, and returns when the upstream has been reached.
    func startSilentLoad(inServer: Bool) throws -> SilentLoad {
        let silent = try SilentSite()
        let list = try files.write("multi:1.0\n", to: "list")
        let upstreams = ["docker.io": silent.address]
        let server = inServer ? try OciRegistryProcess(upstreams: upstreams, imagePath: cache.imagePath) : nil
        let load = try cache.start("load", "--image-file", list, upstreams: inServer ? [:] : upstreams)
        silent.waitForAConnection()
        return SilentLoad(process: load, server: server, site: silent)
    }

    /// Copies an image from a server to a directory of the test.
    func copy(_ image: String, from server: OciRegistryProcess, to name: String, _ options: String...) throws {
        try Command.check(
            ["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"] + options
                + ["docker://\(server.address)/\(image)", "dir:\(files.file(name))"])
    }
}
