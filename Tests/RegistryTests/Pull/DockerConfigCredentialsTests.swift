// Credentials from docker's configuration file and from real helper programs.

import Foundation
import Logging
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct DockerConfigCredentialsTests {
    typealias Answer = Result<ProvidedCredentials?, CredentialFailure>

    /// A loop, a configuration file and helper programs.
    private struct Kit {
        let run: LoopRun
        let files: TemporaryDirectory
        let log = LogRecorder()
        let file: DockerConfigFile
        let programs: ChildPrograms

        init(_ config: String? = nil) throws {
            run = try LoopRun()
            files = try TemporaryDirectory()
            file = DockerConfigFile(
                path: files.file("config.json"), offload: Offload(on: run.loop), logger: log.logger)
            programs = ChildPrograms(on: run.loop)
            run.atClose { [programs] in programs.close() }
            if let config { try files.write(config, to: "config.json") }
        }

        /// Makes the program `docker-credential-<name>`. Another program writes it: while this process has it open for
        /// writing, a program that another test starts would have it open as well, and it could not be run.
        func helper(_ name: String, _ script: String) throws {
            let path = files.file("docker-credential-\(name)")
            try Command.check([
                "sh", "-c", "printf '%s' \"$1\" > \"$0\" && chmod 755 \"$0\"", path, "#!/bin/sh\n\(script)\n",
            ])
        }

        func provider(_ host: String) throws -> DockerConfigCredentials {
            DockerConfigCredentials(
                host: try #require(RegistryHost(host)), file: file, programs: programs, logger: log.logger,
                environment: ["PATH": "\(files.path):/usr/bin:/bin"])
        }

        func ask(_ host: String) throws -> Answer {
            let provider = try provider(host)
            var answer: Answer?
            provider.provide {
                #expect(answer == nil, "a second answer")
                answer = $0
                run.finish()
            }
            #expect(answer == nil, "an answer inside the call")
            run.run()
            return try #require(answer)
        }

        func password(_ host: String) throws -> String? {
            guard case .password(_, let password)? = try ask(host).get()?.credentials else { return nil }
            return password.revealed
        }
    }

    private static func entry(_ password: String, host: String = "a.test") -> String {
        "{\"auths\":{\"\(host)\":{\"username\":\"me\",\"password\":\"\(password)\"}}}"
    }

    private static func reason(_ answer: Answer) -> String? {
        if case .failure(let failure) = answer { failure.reason } else { nil }
    }

    // MARK: The file

    @Test("an entry of the file gives its credentials, and a registry without one is asked anonymously")
    func entry() throws {
        let kit = try Kit(Self.entry("pw"))
        #expect(
            try kit.ask("a.test") == .success(ProvidedCredentials(UpstreamCredentials(user: "me", password: "pw"))))
        #expect(try kit.ask("b.test") == .success(nil))
        #expect(kit.log.entries.isEmpty)
        kit.run.close()
    }

    @Test("a changed file is read again, whether it is written over or replaced")
    func changes() throws {
        let kit = try Kit(Self.entry("one"))
        #expect(try kit.password("a.test") == "one")
        // The same size, in the same second.
        try kit.files.write(Self.entry("two"), to: "config.json")
        #expect(try kit.password("a.test") == "two")
        try kit.files.write(Self.entry("six"), to: "next")
        #expect(rename(kit.files.file("next"), kit.files.file("config.json")) == 0)
        #expect(try kit.password("a.test") == "six")
        #expect(unlink(kit.files.file("config.json")) == 0)
        #expect(Self.reason(try kit.ask("a.test")) == "docker configuration: cannot be read: No such file or directory")
        kit.run.close()
    }

    @Test("a file that has not changed for long is not read again")
    func unchanged() throws {
        let files = try TemporaryDirectory()
        let path = try files.write("one", to: "file")
        var status = stat()
        #expect(stat(path, &status) == 0)
        let stamp = ReplaceableFile.Stamp(status)
        guard case .unchanged(stamp) = try ReplaceableFile.read(path, maximumBytes: 10, known: stamp) else {
            Issue.record("read again")
            return
        }
        let changed = Int64(status.st_ctim.tv_sec)
        #expect(!stamp.isSettled(nowSeconds: changed) && !stamp.isSettled(nowSeconds: changed + 1))
        #expect(stamp.isSettled(nowSeconds: changed + 2) && !stamp.isSettled(nowSeconds: .min))
        // A new file may say nothing with its times, so that the next look-up reads it.
        guard case .new(let bytes, nil) = try ReplaceableFile.read(path, maximumBytes: 10) else {
            Issue.record("a stamp of a new file")
            return
        }
        #expect(bytes == Array("one".utf8))
        #expect(throws: ReplaceableFile.Failure.self) { try ReplaceableFile.read(path, maximumBytes: 2) }
        #expect(throws: ReplaceableFile.Failure.self) { try ReplaceableFile.read(files.path, maximumBytes: 10) }
    }

    @Test("an invalid entry is a failure, and neither it nor the log shows the secret")
    func invalidEntry() throws {
        let kit = try Kit("{\"auths\":{\"a.test\":{\"auth\":\"s3cret!\"}}}")
        let answer = try kit.ask("a.test")
        #expect(Self.reason(answer) == "docker configuration: entry a.test: auth is not base64")
        let entry = try #require(kit.log.entries.first)
        #expect(entry.level == .warning && entry["file"] == kit.files.file("config.json"))
        #expect(!"\(kit.log.entries) \(answer)".contains("s3cret"))
        kit.run.close()
    }

    @Test("entries with a namespace are logged once")
    func ignoredKeys() throws {
        let kit = try Kit(Self.entry("pw", host: "quay.io/team"))
        for _ in 0..<2 { #expect(try kit.ask("quay.io") == .success(nil)) }
        #expect(kit.log.entries.compactMap { $0["keys"] } == ["quay.io/team"])
        kit.run.close()
    }

    // MARK: Helpers

    @Test("a helper gets the registry as docker names it, and its password is returned")
    func helper() throws {
        let kit = try Kit("{\"credsStore\":\"store\"}")
        try kit.helper("store", "printf '{\"Username\":\"%s\",\"Secret\":\"%s\"}' \"$*\" \"$(cat)\"")
        let cases = [("a.test:5000", "a.test:5000"), ("docker.io", "https://index.docker.io/v1/")]
        for (host, server) in cases {
            #expect(
                try kit.ask(host)
                    == .success(ProvidedCredentials(UpstreamCredentials(user: "get", password: server))))
        }
        kit.run.close()
    }

    @Test("a helper's <token> is an identity token")
    func identityToken() throws {
        let kit = try Kit("{\"credHelpers\":{\"a.test\":\"acr\"}}")
        try kit.helper("acr", "echo '{\"ServerURL\":\"a.test\",\"Username\":\"<token>\",\"Secret\":\"id\"}'")
        #expect(try kit.ask("a.test") == .success(ProvidedCredentials(.identityToken(Secret("id")))))
        kit.run.close()
    }

    @Test("a helper that has nothing for the registry means anonymous")
    func notFound() throws {
        let kit = try Kit("{\"credsStore\":\"store\"}")
        try kit.helper("store", "echo 'credentials not found in native keychain'; exit 1")
        #expect(try kit.ask("a.test") == .success(nil))
        #expect(kit.log.entries.isEmpty)
        kit.run.close()
    }

    @Test("a helper that fails is a failure with its name and status, and its standard error is in the log only")
    func failingHelper() throws {
        let kit = try Kit("{\"credsStore\":\"store\"}")
        let script = "echo s3cret; printf 'no \\033[31mkey\\nunlock it\\n3\\n4\\n' >&2; exit 7"
        try kit.helper("store", script)
        #expect(
            Self.reason(try kit.ask("a.test")) == "credential helper docker-credential-store: exit status 7")
        let entry = try #require(kit.log.entries.first)
        #expect(entry.level == .warning && entry["helper"] == "docker-credential-store" && entry["host"] == "a.test")
        #expect(entry["stderr"] == "no \\u{1b}[31mkey | unlock it | 3")
        #expect(!"\(kit.log.entries)".contains("s3cret"))
        kit.run.close()
    }

    @Test("a helper that is missing, is killed, or writes no credentials is a failure without its output")
    func otherFailures() throws {
        let kit = try Kit("{\"credHelpers\":{\"a.test\":\"none\",\"b.test\":\"killed\",\"c.test\":\"odd\"}}")
        try kit.helper("killed", "echo s3cret; kill -KILL $$")
        try kit.helper("odd", "echo s3cret")
        let reasons = try ["a.test", "b.test", "c.test"].map { Self.reason(try kit.ask($0)) }
        #expect(
            reasons == [
                "credential helper docker-credential-none: not started: start: no such file or directory",
                "credential helper docker-credential-killed: killed by signal 9",
                "credential helper docker-credential-odd: its output is not the JSON of credentials",
            ])
        #expect(kit.log.entries.count == 3 && !"\(kit.log.entries)".contains("s3cret"))
        kit.run.close()
    }

    @Test("many registries share the file and the programs")
    func many() throws {
        let kit = try Kit("{\"credsStore\":\"store\"}")
        try kit.helper("store", "printf '{\"Username\":\"me\",\"Secret\":\"%s\"}' \"$(cat)\"")
        let hosts = (0..<20).map { "r\($0).test" }
        var passwords: [String: String] = [:]
        for host in hosts {
            let provider = try kit.provider(host)
            provider.provide { answer in
                if case .password(_, let secret)? = (try? answer.get())?.credentials {
                    passwords[host] = secret.revealed
                }
                if passwords.count == hosts.count { kit.run.finish() }
            }
        }
        kit.run.run()
        #expect(passwords == Dictionary(uniqueKeysWithValues: hosts.map { ($0, $0) }))
        kit.run.close()
    }
}
