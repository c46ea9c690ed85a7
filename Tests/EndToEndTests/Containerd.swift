// containerd, with everything of its own: state, sockets, and images unpacked by plain copying.

import Foundation
import TestSupport

/// A containerd that finds its mirrors in `hosts`. It needs root: unpacking a layer mounts its directory.
final class Containerd {
    let socket: String
    private let process: ChildProcess
    private let files: TemporaryDirectory

    init() throws {
        Need.root.expectStated(by: "containerd")
        files = try TemporaryDirectory()
        socket = files.file("containerd.sock")
        let off = ["grpc.v1.cri", "snapshotter.v1.btrfs", "snapshotter.v1.zfs", "snapshotter.v1.devmapper"]
        let configuration = try files.write(
            """
            version = 2
            root = "\(files.file("root"))"
            state = "\(files.file("state"))"
            disabled_plugins = [\(off.map { "\"io.containerd.\($0)\"" }.joined(separator: ", "))]
            [grpc]
            address = "\(socket)"
            [ttrpc]
            address = "\(files.file("ttrpc.sock"))"
            """, to: "config.toml")
        process = try ChildProcess(["containerd", "--config", configuration])
        _ = try process.line(containing: "containerd successfully booted", in: process.errors)
    }

    /// Sends what is meant for docker.io to a mirror, and nowhere else.
    func mirror(through address: String) throws -> String {
        try files.write(
            """
            server = "http://127.0.0.1:9"
            [host."http://\(address)"]
            capabilities = ["pull", "resolve"]
            """, to: "certs.d/docker.io/hosts.toml")
        return files.file("certs.d")
    }

    @discardableResult
    func ctr(_ arguments: String...) throws -> String {
        String(decoding: try Command.check(["ctr", "--address", socket] + arguments), as: UTF8.self)
    }
}
