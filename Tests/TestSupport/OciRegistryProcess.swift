// The server as its users run it: the executable, with a configuration file and a cache directory.

internal import Glibc

/// An `ociregistry serve` on a free loopback port.
package final class OciRegistryProcess {
    /// `127.0.0.1:port`
    package let address: String
    package let process: ChildProcess
    private let files: TemporaryDirectory

    /// - Parameters:
    ///   - upstreams: where the requests for a registry really go: its host to the `host:port` of a plain-HTTP server.
    ///   - upstreamSettings: a further line of each of these entries.
    ///   - imagePath: the cache, when it is to outlive this server.
    ///   - settings: further lines of the configuration file.
    ///   - launcher: a program with its arguments that starts the server: as another user, or traced.
    package init(
        upstreams: [String: String] = [:], upstreamSettings: String? = nil, imagePath: String? = nil,
        arguments: [String] = [], settings: String = "", launcher: [String] = [], environment: [String: String] = [:]
    ) throws {
        files = try TemporaryDirectory()
        // Another user reads the configuration file as well.
        if !launcher.isEmpty { chmod(files.path, 0o755) }
        var configuration = "logLevel: info\n\(settings)"
        if !upstreams.isEmpty { configuration += "registries:\n" }
        for (host, address) in upstreams.sorted(by: { $0.key < $1.key }) {
            configuration += "- name: \"\(host)\"\n  endpoint: \"http://\(address)\"\n"
            if let upstreamSettings { configuration += "  \(upstreamSettings)\n" }
        }
        process = try ChildProcess(
            launcher + [
                Checkout.server, "serve", "--config-file", files.write(configuration, to: "config.yaml"),
                "--image-path", imagePath ?? files.file("images"), "--host", "127.0.0.1", "--port", "0",
            ] + arguments, environment: environment)
        let mark = "listening on http://127.0.0.1:"
        let line = try process.line(containing: mark, in: process.errors)
        guard let port = line.components(after: mark).prefix(while: \.isNumber).nonEmpty else {
            throw process.failure("does not tell its port")
        }
        address = "127.0.0.1:\(port)"
    }

    /// Asks it to stop, and returns its exit status.
    package func stop() throws -> ChildProcess.Status {
        process.stop()
        return try process.wait()
    }
}
