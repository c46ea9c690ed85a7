// Passwords in files that others replace.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct PasswordFileTests {
    private static func ask(
        _ run: LoopRun, _ provider: PasswordFileCredentials
    ) throws -> Result<ProvidedCredentials?, CredentialFailure> {
        var answer: Result<ProvidedCredentials?, CredentialFailure>?
        provider.provide {
            answer = $0
            run.finish()
        }
        #expect(answer == nil, "an answer inside the call")
        run.run()
        return try #require(answer)
    }

    private static func credentials(_ password: String) -> Result<ProvidedCredentials?, CredentialFailure> {
        .success(ProvidedCredentials(UpstreamCredentials(user: "me", password: password)))
    }

    @Test("the password is read anew each time, and Kubernetes' swap of a link changes it")
    func linkSwap() throws {
        let run = try LoopRun()
        let files = try TemporaryDirectory()
        // As the kubelet writes a secret: the name is a link into `..data`, which is a link to a directory.
        try files.write("one\n", to: "..1/password")
        try files.write("two", to: "..2/password")
        #expect(symlink("..1", files.file("..data")) == 0)
        #expect(symlink("..data/password", files.file("password")) == 0)
        let provider = PasswordFileCredentials(
            user: "me", path: files.file("password"), offload: Offload(on: run.loop))
        #expect(try Self.ask(run, provider) == Self.credentials("one"))
        #expect(symlink("..2", files.file("..data_tmp")) == 0)
        #expect(rename(files.file("..data_tmp"), files.file("..data")) == 0)
        #expect(try Self.ask(run, provider) == Self.credentials("two"))
        run.close()
    }

    @Test("a file that is missing, no file, or too large is a failure")
    func unreadable() throws {
        let run = try LoopRun()
        let files = try TemporaryDirectory()
        try files.write([UInt8](repeating: 0x61, count: PasswordFileCredentials.maximumBytes + 1), to: "large")
        #expect(mkfifo(files.file("fifo"), 0o600) == 0)
        let cases = [
            ("none", "cannot be read: No such file or directory"), (".", "cannot be read: not a regular file"),
            ("fifo", "cannot be read: not a regular file"), ("large", "cannot be read: larger than 64 KiB"),
        ]
        for (name, reason) in cases {
            let provider = PasswordFileCredentials(
                user: "me", path: files.file(name), offload: Offload(on: run.loop))
            #expect(try Self.ask(run, provider) == .failure(CredentialFailure("password file: \(reason)")))
        }
        run.close()
    }

    @Test(
        "one line break at the end is dropped",
        arguments: [
            ("pw", "pw"), ("pw\n", "pw"), ("pw\r\n", "pw"), (" p w ", " p w "), ("p:w\n", "p:w"),
            ("pässwörd", "pässwörd"),
        ])
    func lineBreaks(text: String, password: String) throws {
        #expect(try PasswordFileCredentials.password(Array(text.utf8)) == Secret(password))
    }

    @Test(
        "an empty file and control characters are refused, and the reason holds nothing of the file",
        arguments: ["", "\n", "\r\n", "s3cret\n\n", "s3cret\nx", "s3cret\0", "s3\tcret", "s3cret\u{7F}", "s3cret\r"])
    func refused(text: String) {
        let failure = #expect(throws: CredentialFailure.self) {
            try PasswordFileCredentials.password(Array(text.utf8))
        }
        #expect(failure?.reason.contains("s3") == false)
    }

    @Test("bytes that are not UTF-8 are refused")
    func encoding() {
        #expect(throws: CredentialFailure("it is not UTF-8")) { try PasswordFileCredentials.password([0x61, 0xFF]) }
    }
}
