// Certificates made by openssl.

internal import Foundation

/// An authority, a certificate for 127.0.0.1, one for another name, and a client's.
package final class TestCertificates {
    package let directory: TemporaryDirectory

    package init() throws {
        directory = try TemporaryDirectory()
        for authority in ["ca", "stranger"] {
            try Command.check(
                ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=\(authority)"] + Self.curve
                    + ["-keyout", file("\(authority).key"), "-out", file("\(authority).pem")])
        }
        try issue("server", "IP:127.0.0.1,DNS:localhost")
        try issue("other", "DNS:other.test")
        try issue("client", "DNS:client")
    }

    package func file(_ name: String) -> String { directory.file(name) }

    /// A directory with one authority's certificate, as OpenSSL finds it there.
    package func hashedDirectory(of authority: String) throws -> String {
        let path = "\(authority).d"
        try directory.write(try String(contentsOfFile: file("\(authority).pem"), encoding: .utf8), to: "\(path)/a.pem")
        try Command.check(["openssl", "rehash", file(path)])
        return file(path)
    }

    private static let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]

    private func issue(_ name: String, _ names: String) throws {
        try Command.check(
            ["openssl", "req", "-nodes", "-subj", "/CN=\(name)", "-addext", "subjectAltName=\(names)"] + Self.curve
                + ["-keyout", file("\(name).key"), "-out", file("\(name).csr")])
        try Command.check([
            "openssl", "x509", "-req", "-days", "2", "-copy_extensions", "copy", "-in", file("\(name).csr"),
            "-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-out", file("\(name).pem"),
        ])
    }
}
