// podman, CRI-O, docker and k3s: files before, after, and without the change again.

import TestSupport
import Testing

@testable import RuntimeSetup

@Suite struct RegistriesConfSetupTests {
    private static let own = "etc/containers/registries.conf.d/50-ociregistry.conf"

    @Test("podman and CRI-O have a file with a block for each registry", arguments: [Runtime.podman, .crio])
    func blocks(_ runtime: Runtime) throws {
        let node = try Node(["etc/containers/registries.conf": "unqualified-search-registries = ['docker.io']\n"])
        try node.checkRoundTrip(runtime, registries: ["docker.io", "quay.io"]) { () throws in
            #expect(
                try node.content(Self.own) == OwnFile.header + """


                    [[registry]]
                    prefix = "docker.io"
                    location = "docker.io"

                    [[registry.mirror]]
                    location = "mirror:8080/docker.io"
                    insecure = true

                    [[registry]]
                    prefix = "quay.io"
                    location = "quay.io"

                    [[registry.mirror]]
                    location = "mirror:8080/quay.io"
                    insecure = true

                    """)
            #expect(node.examine(runtime).map(\.mirrors) == [["mirror:8080/docker.io"], ["mirror:8080/quay.io"]])
        }
        #expect(try node.setUp(.crio).nextStep == "To use it: systemctl reload crio")
    }

    @Test("without --registry the usual registries are covered, and said") func usual() throws {
        let node = try Node()
        let plan = try node.setUp(.podman)
        #expect(node.examine(.podman).flatMap(\.registries) == RegistriesConfSetup.usualRegistries)
        #expect(plan.notes.first?.contains("registry.k8s.io") == true)
    }

    @Test("an https mirror is not insecure, and its authority is copied") func authority() throws {
        let node = try Node()
        let files = try TemporaryDirectory()
        let authority = try files.write("-----BEGIN CERTIFICATE-----\n", to: "ca.pem")
        try node.checkRoundTrip(.podman, authority: authority, mirror: "https://mirror:8443") { () throws in
            #expect(try !node.content(Self.own).contains("insecure"))
            #expect(
                try node.content("etc/containers/certs.d/mirror:8443/ca.crt").hasSuffix(
                    "\n-----BEGIN CERTIFICATE-----\n"))
        }
    }

    @Test(
        "an entry of another file for the same registry is refused, with who wins",
        arguments: [
            ("registries.conf", "is read before"), ("registries.conf.d/10-mine.conf", "is read before"),
            ("registries.conf.d/60-mine.conf", "is read after"),
        ])
    func conflicts(_ name: String, _ order: String) throws {
        let path = "etc/containers/" + name
        let node = try Node([path: "\n[[registry]]\nlocation = \"quay.io\"\n"])
        let reason = try #require(try node.refusal(.podman))
        #expect(reason.hasPrefix("/\(path):2: has an entry for quay.io already, and \(order) /\(Self.own)"))
        #expect(try node.refusal(.podman, registries: ["docker.io"]) == nil)
    }

    @Test("a mirror below a path and a file of somebody else are refused") func refused() throws {
        #expect(try Node().refusal(.crio, "http://m/a")?.hasPrefix("--mirror: crio puts a path behind /v2") == true)
        #expect(try Node([Self.own: "# mine\n"]).refusal(.podman)?.hasPrefix("/\(Self.own): is there already") == true)
        let invalid = try Node(["etc/containers/registries.conf": "x"])
        #expect(try invalid.refusal(.podman)?.hasPrefix("/etc/containers/registries.conf:1:2: not TOML") == true)
    }
}

@Suite struct DaemonJSONSetupTests {
    private static let path = "etc/docker/daemon.json"
    private static let mirrors = "\"registry-mirrors\": [\"http://mirror:8080\"]"

    @Test(
        "the mirror is put into daemon.json, and the rest stays as it is written",
        arguments: [
            ("{}", "{\n  \(mirrors)\n}"), ("{\n}\n", "{\n  \(mirrors)\n\n}\n"),
            (
                "{\n    \"debug\" : true,\n\t\"x\": [1.0e2, {\"a\\u0062\": null}]}",
                "{\n  \(mirrors),\n    \"debug\" : true,\n\t\"x\": [1.0e2, {\"a\\u0062\": null}]}"
            ),
            ("{\"registry-mirrors\":[]}", "{\"registry-mirrors\":[\"http://mirror:8080\"]}"),
            (
                "{\"a\": \"]}\", \"registry-mirrors\": [ \"http://b\" ], \"c\": 1}",
                "{\"a\": \"]}\", \"registry-mirrors\": [\"http://mirror:8080\",  \"http://b\" ], \"c\": 1}"
            ),
            ("", "{\n  \(mirrors)\n}\n"), ("\n", "{\n  \(mirrors)\n}\n\n"),
        ])
    func insertion(_ before: String, _ after: String) throws {
        let node = try Node([Self.path: before])
        try node.checkRoundTrip(.docker) { () throws in
            #expect(try node.content(Self.path) == after)
            #expect(node.examine(.docker).first?.mirrors.first == Node.mirrorURL)
        }
    }

    @Test("without daemon.json one is made, and goes again") func fromNothing() throws {
        let node = try Node()
        try node.checkRoundTrip(.docker) { () throws in
            #expect(try node.content(Self.path) == "{\n  \(Self.mirrors)\n}\n")
        }
        #expect(try node.setUp(.docker).nextStep == "To use it: systemctl reload docker")
    }

    @Test("changes by others stay when the mirror is taken away") func changedOtherwise() throws {
        let node = try Node([Self.path: "{\"debug\": true}"])
        try node.setUp(.docker)
        try node.files.write(try node.content(Self.path).replacing("true", with: "false"), to: Self.path)
        let remarks = try node.remove(.docker)
        #expect(try node.content(Self.path) == "{\"debug\": false}")
        #expect(remarks.first?.contains("has been changed otherwise since setup") == true)
        #expect(try node.content(Self.path + SetupPlan.backupSuffix) == "{\"debug\": true}")
    }

    @Test("a daemon.json that has been written anew is refused as long as it has the mirror") func rewritten() throws {
        let node = try Node([Self.path: "{\"debug\": true}"])
        try node.setUp(.docker)
        try node.files.write(
            "{\"debug\":true,\"registry-mirrors\":[\"http://a\", \"http://mirror:8080\"]}", to: Self.path)
        #expect(
            try node.refusal(.docker)?.contains("has been written anew since setup: remove http://mirror:8080") == true)
        try node.files.write("{\"debug\":true}", to: Self.path)
        try node.remove(.docker)
        #expect(try node.content(Self.path) == "{\"debug\":true}")
    }

    @Test(
        "what dockerd does not take is refused",
        arguments: [
            ("[]", [], "http://m", "/\(path): not a JSON object"),
            ("{\"a\": 1,}", [], "http://m", "/\(path): not a JSON object"),
            ("{\n\"registry-mirrors\": \"a\"}", [], "http://m", "/\(path):2: registry-mirrors: must be a list"),
            ("{\"registry-mirrors\": null}", [], "http://m", "/\(path): registry-mirrors: is there twice, or is null"),
            (
                "{\"registry-mirrors\": [\"a\", \"http://m\"]}", [], "http://m",
                "/\(path): registry-mirrors: has http://m already"
            ),
            ("{}", ["quay.io"], "http://m", "--registry quay.io: dockerd has mirrors for docker.io only"),
            ("{}", [], "http://m/a", "--mirror: dockerd accepts no path"),
        ])
    func refused(_ before: String, _ registries: [String], _ mirror: String, _ reason: String) throws {
        let refusal = try Node([Self.path: before]).refusal(.docker, mirror, registries: registries)
        #expect(refusal?.hasPrefix(reason) == true, "\(refusal ?? "accepted")")
    }
}

@Suite struct K3sSetupTests {
    private static let path = "etc/rancher/k3s/registries.yaml"
    private static let any = "\"*\":\n    endpoint:\n      - \"http://mirror:8080\"\n"

    @Test("a node without registries.yaml gets one for all registries, with its authority") func fromNothing() throws {
        let node = try Node()
        try node.checkRoundTrip(.k3s) { () throws in
            #expect(try node.content(Self.path) == OwnFile.header + "\nmirrors:\n  \(Self.any)")
        }
        let files = try TemporaryDirectory()
        let authority = try files.write("-----BEGIN CERTIFICATE-----\n", to: "ca.pem")
        try node.checkRoundTrip(
            .k3s, registries: ["docker.io", "quay.io"], authority: authority, mirror: "https://mirror:8443"
        ) { () throws in
            #expect(
                try node.content(Self.path) == OwnFile.header + """

                    mirrors:
                      "docker.io":
                        endpoint:
                          - "https://mirror:8443"
                      "quay.io":
                        endpoint:
                          - "https://mirror:8443"
                    configs:
                      "mirror:8443":
                        tls:
                          ca_file: /etc/rancher/k3s/ociregistry-ca.pem

                    """)
            #expect(node.examine(.k3s).allSatisfy { $0.problem == nil })
        }
    }

    @Test(
        "a file of somebody else gets the mirror where it belongs",
        arguments: [
            (
                "mirrors:\n  docker.io:\n    endpoint: [https://a]\n",
                "mirrors:\n  {  \(any)  }  docker.io:\n    endpoint: [https://a]\n"
            ),
            (
                "configs:\n  a:\n    auth: {username: b}\n",
                "configs:\n  a:\n    auth: {username: b}\n{mirrors:\n  \(any)}"
            ),
            ("mirrors:\nconfigs: {}\n", "mirrors:\n  {  \(any)  }configs: {}\n"),
            ("mirrors:", "mirrors:\n  {  \(any)  |}"), ("# nothing\n", "# nothing\n{mirrors:\n  \(any)}"),
            (
                "mirrors:\n  \"*\":\n    endpoint:\n    - https://a # b\n",
                "mirrors:\n  \"*\":\n    endpoint:\n    {    - \"http://mirror:8080\"\n    }    - https://a # b\n"
            ),
        ])
    func insertion(_ before: String, _ expected: String) throws {
        let node = try Node([Self.path: before])
        try node.checkRoundTrip(.k3s) { () throws in
            let marked = expected.replacing("{username: b}", with: "<1>").replacing("{}", with: "<2>")
                .replacing("{", with: MarkedBlock.begin + "\n").replacing("|}", with: MarkedBlock.end)
                .replacing("}", with: MarkedBlock.end + "\n").replacing("<1>", with: "{username: b}")
                .replacing("<2>", with: "{}")
            #expect(try node.content(Self.path) == marked)
            #expect(node.examine(.k3s).contains { $0.mirrors.first == Node.mirrorURL && $0.registries == ["*"] })
        }
    }

    @Test(
        "what cannot be changed line by line is refused",
        arguments: [
            ("mirrors: {}\n", "is written in a way that setup does not change"),
            ("{mirrors: {a: {}}}\n", "is written in a way"),
            ("mirrors: [\n", "not YAML"), ("mirrors:\n  \"*\":\n    endpoint: [https://a]\n", "is written in a way"),
            ("mirrors:\n  \"*\":\n", "make http://mirror:8080 the first endpoint of *"),
            ("a: &b 1\n", "anchors and aliases are not supported"),
        ])
    func refused(_ before: String, _ reason: String) throws {
        let refusal = try Node([Self.path: before]).refusal(.k3s)
        #expect(
            refusal?.hasPrefix("/\(Self.path):") == true && refusal?.contains(reason) == true,
            "\(refusal ?? "accepted")")
    }
}
