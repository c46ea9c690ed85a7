// dockerd, as docker users have it: a registry mirror for Docker Hub.

import TestSupport
import Testing

/// A dockerd over a containerd of its own, without networks, which pulls Docker Hub's images from a mirror. It needs
/// root.
final class Docker {
    private let containerd: Containerd
    private let process: ChildProcess
    private let files: TemporaryDirectory
    private let socket: String
    var socketPath: String { files.file("docker.sock") }

    convenience init(mirror address: String) throws {
        try self.init(configuration: nil, options: ["--registry-mirror", "http://\(address)"])
    }

    /// - Parameter configuration: its daemon.json; nil: an empty one.
    init(configuration: String?, options: [String] = []) throws {
        containerd = try Containerd()
        files = try TemporaryDirectory()
        socket = "unix://\(files.file("docker.sock"))"
        // It mounts its data directory on itself, and will not start without control groups, which a bare root may
        // lack; in a mount namespace of its own, both are gone when it is.
        let prepare = """
            [ -d /sys/fs/cgroup ] || mount -t sysfs sysfs /sys
            grep -q ' /sys/fs/cgroup' /proc/mounts || mount -t cgroup2 cgroup2 /sys/fs/cgroup
            exec "$@"
            """
        process = try ChildProcess(
            [
                "unshare", "--mount", "sh", "-ec", prepare, "sh", "dockerd", "--config-file",
                configuration ?? files.write("{}", to: "daemon.json"), "--host", socket,
                "--data-root", files.file("data"), "--exec-root", files.file("exec"), "--pidfile", files.file("pid"),
                "--containerd", containerd.socket, "--storage-driver", "vfs", "--bridge", "none", "--iptables=false",
                "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
            ] + options)
        _ = try process.line(containing: "API listen on", in: process.errors)
    }

    deinit { process.stop() }

    @discardableResult
    func callAsFunction(_ arguments: String...) throws -> String {
        let environment = ["DOCKER_CONFIG": files.path]
        return String(
            decoding: try Command.check(["docker", "--host", socket] + arguments, environment: environment),
            as: UTF8.self)
    }
}

@Suite(.needs(.root, .docker, .containerd, .sampleImages)) struct DockerTests {
    /// dockerd does not say whose mirror it asks: Docker Hub is the server's default.
    @Test("docker pulls Docker Hub images through registry-mirrors", arguments: [SampleImage.multi, .classic])
    func mirror(_ image: SampleImage) throws {
        let scene = try MirrorScene(arguments: ["--default-ns", "docker.io"])
        try scene.pullThrice { _ in
            let docker = try Docker(mirror: scene.server.address)
            let output = try docker("pull", "\(image)")
            #expect(output.contains("Downloaded newer image"))
        }
    }

    @Test("docker pulls an image by a name with the mirror in it") func byName() throws {
        let scene = try MirrorScene()
        try scene.pullThrice { _ in
            let docker = try Docker(mirror: "127.0.0.1:9")
            _ = try docker("pull", "\(scene.server.address)/docker.io/\(SampleImage.many)")
        }
    }
}
