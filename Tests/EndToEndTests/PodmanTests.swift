// podman, by a name with the mirror in it and by a mirror in registries.conf.

import Foundation
import TestSupport
import Testing

@testable import OCI

/// podman with storage, configuration and locks of its own, so that the machine's own images are left alone.
struct Podman {
    private let files: TemporaryDirectory
    let environment: [String: String]
    private let launcher: [String]

    /// - Parameters:
    ///   - registries: the content of registries.conf; nil: the files of `/etc` are used.
    ///   - launcher: the start of the command line, for another `/etc`.
    init(registries: String? = nil, launcher: [String] = []) throws {
        files = try TemporaryDirectory()
        self.launcher = launcher
        var environment = [
            "HOME": try files.directory("home"), "XDG_RUNTIME_DIR": try files.directory("runtime"),
            "TMPDIR": try files.directory("tmp"),
            // Locks in files: the default is shared memory that every podman of this user has in common.
            "CONTAINERS_CONF": try files.write(
                "[engine]\nlock_type = \"file\"\nevents_logger = \"none\"\ncgroup_manager = \"cgroupfs\"\n",
                to: "containers.conf"),
        ]
        if let registries {
            environment["CONTAINERS_REGISTRIES_CONF"] = try files.write(registries, to: "registries.conf")
        }
        self.environment = environment
        try files.write(#"{"default":[{"type":"insecureAcceptAnything"}]}"#, to: "home/.config/containers/policy.json")
    }

    /// The directories of this podman, for one that another program starts (containers-storage.conf(5), podman(1)).
    var storage: [String: String] {
        get throws {
            [
                "CONTAINERS_STORAGE_CONF": try files.write(
                    """
                    [storage]
                    driver = "vfs"
                    graphroot = "\(files.file("storage"))"
                    runroot = "\(files.file("run"))"
                    """, to: "storage.conf")
            ]
        }
    }

    @discardableResult
    func callAsFunction(_ arguments: String...) throws -> String {
        let options = [
            "--root", files.file("storage"), "--runroot", files.file("run"), "--tmpdir", files.file("libpod"),
            "--storage-driver", "vfs",
        ]
        let output = try Command.check(launcher + ["podman"] + options + arguments, environment: environment)
        return String(decoding: output, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }
}

@Suite(.needs(.podman, .sampleImages)) struct PodmanTests {
    /// Every image, and one platform's manifest by its digest, by names with the mirror in them.
    @Test("podman pulls images by a name with the mirror in it", arguments: SampleImage.all)
    func byName(_ image: SampleImage) throws {
        let scene = try MirrorScene()
        try scene.pullThrice { _ in
            let podman = try Podman(registries: "unqualified-search-registries = []\n")
            let name = "\(scene.server.address)/docker.io/\(image)"
            let identifier = try podman("pull", "--quiet", "--tls-verify=false", name)
            #expect(try podman("image", "inspect", "--format", "{{.Id}}", name) == identifier)
        }
    }

    /// The name stays docker.io's. The registry itself stands at a port where nothing listens, so that only the mirror
    /// can have answered.
    @Test("podman pulls docker.io images through a mirror in registries.conf") func registriesConf() throws {
        let scene = try MirrorScene()
        let registries = """
            unqualified-search-registries = []
            [[registry]]
            prefix = "docker.io"
            location = "127.0.0.1:9/docker.io"
            insecure = true
            [[registry.mirror]]
            location = "\(scene.server.address)/docker.io"
            insecure = true
            """
        try scene.pullThrice { _ in
            let podman = try Podman(registries: registries)
            try podman("pull", "--quiet", "docker.io/\(SampleImage.multi)")
            let digest = try podman("image", "inspect", "--format", "{{.Digest}}", "docker.io/\(SampleImage.multi)")
            try podman("rmi", "--all", "--force")
            try podman("pull", "--quiet", "docker.io/\(SampleImage.multi.repository)@\(digest)")
        }
    }
}
