// A real registry as upstream: Debian's docker-registry (distribution 2.8), with a log of its requests.

internal import Foundation

/// A docker-registry with its own or a shared directory, on a free loopback port.
package final class DockerRegistry {
    /// `127.0.0.1:port`
    package let address: String
    private let process: ChildProcess
    private let files: TemporaryDirectory

    /// Serves the content of `directory`, and stores pushed content there.
    /// - Parameter settings: further lines of its configuration, such as `auth: …`.
    package init(storing directory: String, settings: String = "") throws {
        files = try TemporaryDirectory()
        let configuration = try files.write(
            """
            version: 0.1
            log: {level: info, accesslog: {disabled: false}}
            storage:
              filesystem: {rootdirectory: "\(directory)"}
              delete: {enabled: true}
              maintenance: {uploadpurging: {enabled: false}}
            http: {addr: "127.0.0.1:0", secret: test}
            \(settings)
            """, to: "config.yml")
        process = try ChildProcess(["docker-registry", "serve", configuration])
        let line = try process.line(containing: "listening on 127.0.0.1:", in: process.errors)
        guard let port = line.components(after: "listening on 127.0.0.1:").prefix(while: \.isNumber).nonEmpty else {
            throw process.failure("does not tell its port")
        }
        address = "127.0.0.1:\(port)"
    }

    /// How often it has logged this, such as a refused login. Complete after `stop`.
    package func count(of text: String) -> Int { process.errors.text.components(separatedBy: text).count - 1 }

    /// Stops it, and returns its requests, one `GET /v2/…` line each, in the order they ended. The list is complete
    /// only after the stop: a registry writes a line when it has finished a request, which the client cannot see.
    @discardableResult
    package func stop() throws -> [String] {
        process.stop()
        _ = try process.wait()
        return process.output.lines.compactMap { line in
            let quoted = line.split(separator: "\"", omittingEmptySubsequences: false)
            guard quoted.count > 1 else { return nil }
            return quoted[1].split(separator: " ").prefix(2).joined(separator: " ")
        }
    }
}

extension String {
    /// The text after the first occurrence of `mark`; empty if there is none.
    package func components(after mark: String) -> Substring {
        var rest = self[...]
        while !rest.isEmpty, !rest.hasPrefix(mark) { rest = rest.dropFirst() }
        return rest.dropFirst(mark.count)
    }
}

extension Substring {
    package var nonEmpty: String? { isEmpty ? nil : String(self) }
}
