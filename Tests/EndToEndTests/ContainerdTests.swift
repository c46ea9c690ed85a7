// containerd, as a node of a cluster has it: a hosts.toml, and `ns=docker.io` on every request.

import TestSupport
import Testing

@Suite(.needs(.root, .containerd, .sampleImages)) struct ContainerdTests {
    @Test("containerd pulls an image through a hosts.toml mirror", arguments: SampleImage.all)
    func pulls(_ image: SampleImage) throws {
        let scene = try MirrorScene()
        try scene.pullThrice { _ in
            let containerd = try Containerd()
            let hosts = try containerd.mirror(through: scene.server.address)
            try containerd.ctr(
                "images", "pull", "--hosts-dir", hosts, "--snapshotter", "native", "docker.io/\(image)")
            #expect(try containerd.ctr("images", "list", "--quiet").contains("docker.io/\(image)"))
        }
        #expect(scene.server.process.errors.text.contains("ns=docker.io"))
    }

    @Test("containerd pulls all platforms of an index through the mirror") func allPlatforms() throws {
        let scene = try MirrorScene()
        try scene.pullThrice { _ in
            let containerd = try Containerd()
            let hosts = try containerd.mirror(through: scene.server.address)
            try containerd.ctr(
                "images", "pull", "--all-platforms", "--hosts-dir", hosts, "--snapshotter", "native",
                "docker.io/\(SampleImage.multi)")
        }
    }
}
