// The server as a pod of the manifests runs it: its arguments, configuration, ports and probes with the real program.

import Foundation
import TestSupport
import Testing

@testable import Configuration

@Suite(.needs(.kubernetesTools, .curl)) struct PodTests {
    /// A server with a container's arguments and configuration, on ports of this machine.
    private struct Pod {
        let rendered: RenderedManifests
        let process: ChildProcess
        /// Ports of this machine by the names that the container has for its own.
        let ports: [String: UInt16]
        private let files: TemporaryDirectory

        init(_ manifests: Manifests) throws {
            rendered = try manifests.render()
            let files = try TemporaryDirectory()
            self.files = files
            let server = try rendered.server
            var configuration = try rendered.configuration
            var ports: [String: UInt16] = [:]
            for (name, key) in [("http", "port"), ("metrics", "metrics"), ("health", "health")] {
                ports[name] = LoopbackPort.free()
                let line = "\n\(key): \(try rendered.port(name))\n"
                #expect(configuration.contains(line), "the configuration has another \(key) than the container")
                configuration = configuration.replacingOccurrences(of: line, with: "\n\(key): \(ports[name] ?? 0)\n")
            }
            self.ports = ports
            try files.write(configuration, to: "config.yaml")
            let mount = try #require(try server.named("config", in: "volumeMounts")["mountPath"]?.text)
            let arguments = server.texts("args").map { $0.replacingOccurrences(of: mount, with: files.path) }
            #expect(server.texts("command") == ["/usr/bin/ociregistry"])
            process = try ChildProcess(
                [Checkout.server] + arguments + [
                    "--host", "127.0.0.1", "--image-path", files.file("images"), "--hello-world", "--log-level", "info",
                ])
            _ = try process.line(containing: "listening on http://127.0.0.1:", in: process.errors)
        }

        /// The status and the body of a response, for a path at a named port.
        func get(_ path: String, _ port: String, accept: String = "*/*") throws -> (status: String, body: String) {
            let number = try #require(ports[port])
            let result = try Command.run([
                "curl", "-s", "-H", "Accept: \(accept)", "-w", "\n%{http_code}", "http://127.0.0.1:\(number)\(path)",
            ])
            let lines = result.text.split(separator: "\n", omittingEmptySubsequences: false)
            return (String(lines.last ?? ""), lines.dropLast().joined(separator: "\n"))
        }
    }

    @Test(
        "the server starts as its container does, and answers probes, scrapes and pulls",
        arguments: Manifests.overlays)
    func start(manifests: Manifests) throws {
        let pod = try Pod(manifests)
        let server = try pod.rendered.server
        for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            let get = try #require(server.at(probe, "httpGet"))
            #expect(get["path"]?.text == path)
            #expect(try pod.get(path, try #require(get["port"]?.text)).status == "200", "\(probe)")
        }
        let metrics = try pod.get("/metrics", "metrics")
        #expect(metrics.status == "200" && metrics.body.contains("ociregistry_build_info{"))
        let index = try pod.get(
            "/v2/docker.io/library/hello-world/manifests/latest", "http",
            accept: "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json")
        #expect(index.status == "200" && index.body.contains("\"digest\""))
        pod.process.stop()
        #expect(try pod.process.wait() == 0)
    }

    @Test(
        "check-config accepts the configuration, and the cache's volume is where the server keeps it",
        arguments: Manifests.overlays)
    func configuration(manifests: Manifests) throws {
        let rendered = try manifests.render()
        let files = try TemporaryDirectory()
        let file = try files.write(try rendered.configuration, to: "config.yaml")
        let result = try Command.run([Checkout.server, "check-config", file])
        #expect(result.status == 0, "\(result)")
        // So commands in the pod find the server without options.
        let mount = try rendered.server.named("cache", in: "volumeMounts")["mountPath"]?.text
        #expect(mount == Config().imagePath)
        // The example in comments, with the file that it names.
        let lines = try rendered.configuration.split(separator: "\n").map(String.init)
        let start = try #require(lines.firstIndex(of: "#registries:"))
        try files.write("password", to: "secrets/registry.example")
        let text = (lines[..<start] + lines[start...].map { String($0.dropFirst()) }).joined(separator: "\n")
            .replacingOccurrences(of: "/run/secrets/ociregistry", with: files.file("secrets"))
        let example = try Command.run([Checkout.server, "check-config", files.write(text, to: "example.yaml")])
        #expect(example.status == 0 && example.text.contains("1 registr"), "\(example)")
    }
}
