// The command line: what goes first, where options may stand, and what is refused by name.

import ArgumentParser
import Foundation
import Registry
import TestSupport
import Testing

@testable import App
@testable import Configuration
@testable import OCI

struct CommandLineTests {
    private func config(_ arguments: [String]) throws -> Config {
        let serve = try #require(try OCIRegistry.parseAsRoot(arguments) as? Serve)
        var config = try serve.global.config { _ in nil }
        serve.options.apply(to: &config)
        serve.platforms.apply(to: &config)
        return config
    }

    private func withFile<R>(_ yaml: String, _ body: (String) throws -> R) throws -> R {
        let file = FileManager.default.temporaryDirectory.appending(path: "c-\(UUID().uuidString).yaml")
        try Data(yaml.utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        return try body(file.path)
    }

    @Test(
        "health without a port, or with 0, in the file means no health listener",
        arguments: [("health:", nil), ("health: 0", nil), ("health: \"\"", nil), ("health: 8081", 8081)])
    func healthPort(_ yaml: String, _ port: UInt16?) throws {
        let given = try withFile(yaml) { try config(["--config-file", $0, "serve"]) }
        #expect(given.healthPort == port)
    }

    @Test("two listeners with the same port are refused, except for port 0") func sharedPort() throws {
        let same = try config(["serve", "--port", "81", "--health", "81"])
        #expect(throws: Refusal("health: 81 is the port of port already")) { try same.checkPorts() }
        try config(["serve", "--health", "81"]).checkPorts()
        try config(["serve", "--port", "0", "--health", "0"]).checkPorts()
    }

    @Test("serve without options uses the defaults") func defaults() throws {
        #expect(try config(["serve"]) == Config())
    }

    @Test("every serve option sets its configuration value") func everyFlag() throws {
        let given = try config([
            "--log-level", "debug", "--log-format", "json", "--image-path", "/i", "--log-file", "/l", "serve", "--port",
            "0", "--health", "0", "--host", "localhost", "--default-ns", "Docker.io", "--pull-timeout", "5",
            "--air-gapped", "--always-pull-latest", "--hello-world", "--no-prefetch-layers",
            "--admin-on-serving-port",
            "--preload-images", "a.txt,b*.tar", "--os", "linux", "--arch", "arm/v7", "--all-platforms",
        ])
        var expected = Config()
        expected.logLevel = .debug
        expected.logFormat = .json
        expected.imagePath = "/i"
        expected.logFile = "/l"
        expected.port = 0
        expected.healthPort = 0
        expected.host = "127.0.0.1"
        expected.defaultNamespace = .dockerHub
        expected.pullTimeoutMilliseconds = 5
        expected.airGapped = true
        expected.alwaysPullLatest = true
        expected.helloWorld = true
        expected.prefetchLayers = .never
        expected.adminOnServingPort = true
        expected.preloadImages = "a.txt,b*.tar"
        expected.os = "linux"
        expected.arch = "arm/v7"
        expected.allPlatforms = true
        #expect(given == expected)
    }

    @Test("command-line options override the file, and the file overrides the defaults") func precedence() throws {
        let yaml = """
            imagePath: /file
            logLevel: info
            logFormat: json
            logFile: /file.log
            port: 1
            health: 3
            host: 127.0.0.2
            pullTimeout: 1
            airGapped: true
            helloWorld: true
            alwaysPullLatest: true
            prefetchLayers: false
            defaultNs: file.example
            """
        try withFile(yaml) { path in
            let fromFile = try config(["--config-file", path, "serve"])
            #expect(fromFile.imagePath == "/file")
            #expect(fromFile.port == 1 && fromFile.healthPort == 3)
            #expect(fromFile.airGapped)
            let both = try config([
                "--config-file", path, "--image-path", "/line", "--log-level", "warn", "--log-format", "text",
                "--log-file", "/line.log", "serve", "--port", "2", "--health", "4", "--host", "::1",
                "--pull-timeout", "2", "--air-gapped=false", "--hello-world=false", "--always-pull-latest=false",
                "--prefetch-layers",
                "--default-ns", "line.example",
            ])
            var expected = Config()
            expected.imagePath = "/line"
            expected.logLevel = .warn
            expected.logFile = "/line.log"
            expected.port = 2
            expected.healthPort = 4
            expected.host = "::1"
            expected.pullTimeoutMilliseconds = 2
            expected.defaultNamespace = RegistryHost("line.example")
            #expect(both == expected)
        }
    }

    @Test(
        "a switch takes an optional true or false",
        arguments: [
            (["--air-gapped"], true), (["--air-gapped=true"], true), (["--air-gapped", "false"], false),
            (["--air-gapped=false"], false), (["--air-gapped=false", "--hello-world=true", "--port", "1"], false),
            (["--port", "1", "--air-gapped", "--port", "2"], true),
        ])
    func switches(_ flags: [String], _ isOn: Bool) throws {
        let given = try withFile("airGapped: \(!isOn)") { try config(["--config-file", $0, "serve"] + flags) }
        #expect(given.airGapped == isOn)
    }

    @Test("global options are accepted on either side of the subcommand, and the last one wins")
    func globalOptions() throws {
        #expect(try config(["--image-path", "/a", "serve"]).imagePath == "/a")
        #expect(try config(["serve", "--port", "1", "--image-path", "/b"]).imagePath == "/b")
        #expect(try config(["--image-path", "/a", "serve", "--image-path=/b"]).imagePath == "/b")
        #expect(try OCIRegistry.parseAsRoot(["--log-level", "info", "version"]) is ShowVersion)
    }

    @Test(
        "an invalid option value ends with status 64 and names the option",
        arguments: [
            ["serve", "--port", "65536"], ["serve", "--port", "-1"], ["serve", "--health", "x"],
            ["serve", "--host", "example.com"], ["serve", "--default-ns", "a/b"], ["serve", "--pull-timeout", "0"],
            ["serve", "--air-gapped=perhaps"], ["serve", "--admin-on-serving-port=perhaps"],
            ["serve", "--hello-world", "perhaps"], ["serve", "--os", "Linux/x"], ["serve", "--arch", "a/b/c"],
            ["load", "--resolve-ref", "a b"], ["load", "--arch", ""], ["load", "--pull-timeout", "0"],
            ["--log-level", "verbose", "serve"], ["--log-format", "xml", "serve"], ["--image-path", "", "serve"],
        ])
    func refusedValues(_ arguments: [String]) throws {
        let flag = try #require(arguments.first { $0.hasPrefix("--") }?.prefix { $0 != "=" })
        let refusal = try #require(parseRefusal(arguments))
        #expect(refusal.message.contains(flag))
        #expect(refusal.status == 64)
    }
}
