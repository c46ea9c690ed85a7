// What the end-to-end tests have in common: a registry with images, the server in front of it, and the three times an
// image is pulled.

import TestSupport
import Testing

/// A docker-registry that stands for Docker Hub, and the server pulling through from it.
struct MirrorScene {
    let upstream: DockerRegistry
    let server: OciRegistryProcess

    init(arguments: [String] = []) throws {
        upstream = try DockerRegistry(storing: SampleImages.storage())
        server = try OciRegistryProcess(upstreams: ["docker.io": upstream.address], arguments: arguments)
    }

    enum Stage: String { case cold, cached, offline }

    /// Pulls with nothing in the cache, with everything in the cache, and again with the upstream stopped. Then:
    /// nothing was asked of the upstream twice.
    func pullThrice(_ pull: (Stage) throws -> Void) throws {
        try pull(.cold)
        try pull(.cached)
        let asked = try upstream.stop().filter { $0.hasPrefix("GET ") && $0.contains("/v2/") && !$0.hasSuffix("/v2/") }
        try pull(.offline)
        #expect(!asked.isEmpty)
        var counts: [String: Int] = [:]
        for request in asked { counts[request, default: 0] += 1 }
        #expect(counts.filter { $0.value > 1 } == [:], "asked of the upstream more than once")
        let status = try server.stop()
        #expect(status == 0, "\(server.process.errors.text)")
    }
}
