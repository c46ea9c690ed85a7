// The content of the files that a configuration names, as `check-config` checks it.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct NamedFileContentTests {
    private let files: TemporaryDirectory

    init() throws { files = try TemporaryDirectory() }

    private func problem(_ kind: NamedFile, _ text: String) throws -> String? {
        NamedFile.contentProblem(kind, try files.write(text, to: "file"))
    }

    @Test("certificates and keys are read as OpenSSL reads them", .needs(.openssl)) func certificates() throws {
        let made = try TestCertificates()
        let certificate = try String(contentsOfFile: made.file("server.pem"), encoding: .utf8)
        let key = try String(contentsOfFile: made.file("server.key"), encoding: .utf8)
        #expect(try problem(.authorities, certificate + certificate) == nil)
        #expect(try problem(.certificate, "a comment\n" + certificate) == nil)
        #expect(try problem(.privateKey, key) == nil)
        let none = "holds no PEM certificate"
        for text in ["", "x", key] { #expect(try problem(.certificate, text) == none) }
        let broken = certificate.replacing("MII", with: "AAA")
        #expect(try problem(.authorities, certificate + broken) == "certificate 2 is not valid PEM")
        for text in ["", certificate] {
            #expect(
                try problem(.privateKey, text) == "holds no PEM private key that can be read without a passphrase")
        }
        try Command.check([
            "openssl", "pkey", "-in", made.file("server.key"), "-aes128", "-passout", "pass:x", "-out",
            files.file("encrypted"),
        ])
        #expect(
            NamedFile.contentProblem(.privateKey, files.file("encrypted"))
                == "holds no PEM private key that can be read without a passphrase")
    }

    @Test("password files and docker's files are read as the server reads them") func credentials() throws {
        #expect(try problem(.password, "secret\n") == nil)
        #expect(try problem(.password, "") == "it is empty")
        #expect(try problem(.password, "a\nb\n") == "it holds a control character, such as a second line")
        #expect(try problem(.dockerConfig, "{\"auths\":{\"a.test\":{}}}") == nil)
        #expect(try problem(.dockerConfig, "{") == "not the JSON of a docker configuration")
        #expect(
            try problem(.dockerConfig, "{\"auths\":{\"a.test\":{\"auth\":\"x\"},\"b.test\":1}}")
                == "entry a.test: auth is not base64; entry b.test: not an object of texts")
        #expect(
            NamedFile.contentProblem(.dockerConfig, files.file("none")) == "cannot be read: No such file or directory")
    }
}
