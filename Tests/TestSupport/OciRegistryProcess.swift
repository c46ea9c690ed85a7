// The server as users run it: the executable, with a configuration file and a cache directory.

internal import Glibc

/// An `ociregistry serve` process on a free loopback port.
package final class OciRegistryProcess {
    /// `127.0.0.1:port`
    package let address: String
    package let process: ChildProcess
    /// The configuration file, which a test may replace before it sends SIGHUP.
    package var configurationFile: String { files.file("config.yaml") }
    private let files: TemporaryDirectory

    /// - Parameters:
    ///   - upstreams: maps a registry's host to the `host:port` of the plain-HTTP server that gets its requests.
    ///   - upstreamSettings: an additional line for each of these entries.
    ///   - registries: further entries, as the lines of YAML that they are.
    ///   - imagePath: the cache directory, if it must outlive this server.
    ///   - settings: additional lines of the configuration file.
    ///   - launcher: a program with arguments that starts the server, for example as another user or traced.
    package init(
        upstreams: [String: String] = [:], upstreamSettings: String? = nil, registries: String = "",
        imagePath: String? = nil, arguments: [String] = [], settings: String = "", launcher: [String] = [],
        environment: [String: String] = [:]
    ) throws {
        files = try TemporaryDirectory()
        // The other user must be able to read the configuration file.
        if !launcher.isEmpty { chmod(files.path, 0o755) }
        var configuration = "logLevel: info\n\(settings)"
        if !upstreams.isEmpty || !registries.isEmpty { configuration += "registries:\n\(registries)" }
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

    /// Stops the server, and returns its exit status.
    package func stop() throws -> ChildProcess.Status {
        process.stop()
        return try process.wait()
    }
}
