// openssl as a TLS server.

import Foundation
import TestSupport
import Testing

/// `openssl s_server`, which answers every path with a page about the connection.
final class TLSServer {
    let process: ChildProcess
    let port: Int

    init(_ certificates: TestCertificates, _ name: String, _ more: [String] = []) throws {
        process = try ChildProcess(
            [
                "openssl", "s_server", "-accept", "127.0.0.1:0", "-www", "-cert", certificates.file("\(name).pem"),
                "-key", certificates.file("\(name).key"),
            ] + more)
        let line = try process.line(containing: "ACCEPT", in: process.output)
        port = try #require(line.split(separator: ":").last.flatMap { Int($0) })
    }
}
