// The command line of `setup`.

import ArgumentParser
import Testing

@testable import App
@testable import OCI
@testable import RuntimeSetup

@Suite struct SetUpRuntimeTests {
    @Test("setup takes its options in any order")
    func options() throws {
        let command = try #require(
            try OCIRegistry.parseAsRoot([
                "setup", "--root", "/host", "--hosts-only", "containerd", "--registry", "Docker.io", "--registry",
                "quay.io:443", "--mirror", "https://mirror/", "--ca", "ca.pem", "--dry-run",
            ]) as? SetUpRuntime)
        #expect(command.runtime == .containerd && command.root == "/host" && command.hostsOnly && command.dryRun)
        #expect(command.registry.map(\.text) == ["docker.io", "quay.io:443"])
        #expect(command.mirror?.description == "https://mirror" && command.authority == "ca.pem" && !command.remove)
    }

    @Test(
        "what contradicts itself is refused before any file is read",
        arguments: [
            (["setup", "nomad"], "nomad"), (["setup", "containerd"], "--mirror URL is missing"),
            (["setup", "docker", "--remove", "--mirror", "http://m"], "--remove takes all of it away"),
            (["setup", "docker", "--mirror", "http://m", "--hosts-only"], "--hosts-only is for containerd"),
            (["setup", "podman", "--mirror", "http://m", "--ca", "x"], "--ca is for a mirror with https://"),
            (["setup", "podman", "--mirror", "m:8080"], "must begin with http:// or https://"),
            (["setup", "podman", "--mirror", "http://m:1", "--registry", "m:1"], "that is the mirror itself"),
            (["setup", "podman", "--mirror", "http://m:1", "--registry", "a/b"], "must be a registry host"),
        ])
    func refused(_ arguments: [String], _ reason: String) {
        let refusal = parseRefusal(arguments)
        #expect(refusal?.message.contains(reason) == true, "\(refusal?.message ?? "accepted")")
        #expect(refusal?.status == 64)
    }
}
