// Runs `ociregistry load` and similar sub-commands to completion, with a test's cache directory.

internal import Foundation

/// A cache directory, and the sub-commands that use it.
package struct CacheDirectory {
    private let files: TemporaryDirectory
    package var imagePath: String { files.file("images") }

    package init() throws { files = try TemporaryDirectory() }

    /// Runs a sub-command with this cache.
    /// - Parameter upstreams: see `OciRegistryProcess`.
    package func run(_ arguments: String..., upstreams: [String: String] = [:]) throws -> Command.Result {
        try Command.run([Checkout.server] + arguments + (try options(upstreams)))
    }

    /// Starts a sub-command without waiting for its end.
    package func start(_ arguments: String..., upstreams: [String: String] = [:]) throws -> ChildProcess {
        try ChildProcess([Checkout.server] + arguments + (try options(upstreams)))
    }

    /// Runs a sub-command that must succeed.
    @discardableResult
    package func check(_ arguments: String..., upstreams: [String: String] = [:]) throws -> String {
        let all = [Checkout.server] + arguments + (try options(upstreams))
        return String(decoding: try Command.check(all), as: UTF8.self)
    }

    /// Starts a server with this cache that sends no upstream requests.
    package func serveAirGapped() throws -> OciRegistryProcess {
        try OciRegistryProcess(imagePath: imagePath, arguments: ["--air-gapped"])
    }

    /// All files of `blobs` or `manifests`.
    package func contentFiles(of kind: String) -> [String] {
        let root = "\(imagePath)/store-v1/\(kind)"
        let walk = FileManager.default.enumerator(atPath: root)?.compactMap { $0 as? String } ?? []
        // The shortest name of a content file is a sha256; no directory name is that long.
        return walk.filter { ($0.split(separator: "/").last?.count ?? 0) >= 64 }.map { "\(root)/\($0)" }.sorted()
    }

    private func options(_ upstreams: [String: String]) throws -> [String] {
        var configuration = "registries:\n"
        for (host, address) in upstreams.sorted(by: { $0.key < $1.key }) {
            configuration += "- name: \"\(host)\"\n  endpoint: \"http://\(address)\"\n"
        }
        let file = try files.write(upstreams.isEmpty ? "" : configuration, to: "config.yaml")
        return ["--config-file", file, "--image-path", imagePath]
    }
}
