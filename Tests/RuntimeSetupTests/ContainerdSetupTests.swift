// containerd's files before, after, and without the change again.

import TestSupport
import Testing

@testable import RuntimeSetup

@Suite struct ContainerdSetupTests {
    private static let config = "etc/containerd/config.toml"
    private static let defaultHosts = "etc/containerd/certs.d/_default/hosts.toml"
    private static let own = OwnFile.header + "\n"
    private static let table = """
        [host."http://mirror:8080"]
        capabilities = ["pull", "resolve"]
        dial_timeout = "2s"

        """
    private static let registry2 = "[plugins.\"io.containerd.grpc.v1.cri\".registry]"
    private static let registry3 = "[plugins.\"io.containerd.cri.v1.images\".registry]"
    private static let path = "config_path = \"/etc/containerd/certs.d\""

    @Test("a node without files gets _default and a config.toml of its own")
    func fromNothing() throws {
        let node = try Node()
        try node.checkRoundTrip(.containerd) { () throws in
            #expect(
                try node.contents() == [
                    Self.defaultHosts: Self.own + "\n" + Self.table,
                    Self.config: Self.own + "version = 2\n\n\(Self.registry2)\n\(Self.path)\n",
                ])
            #expect(node.examine(.containerd).allSatisfy { $0.problem == nil })
        }
    }

    @Test("each registry that is named has a directory, and docker.io its server")
    func named() throws {
        let node = try Node()
        try node.checkRoundTrip(.containerd, registries: ["docker.io", "r.example:5000"]) { () throws in
            let server = "server = \"https://registry-1.docker.io\"\n"
            #expect(
                try node.content("etc/containerd/certs.d/docker.io/hosts.toml") == Self.own + server + "\n" + Self.table
            )
            #expect(
                try node.content("etc/containerd/certs.d/r.example:5000/hosts.toml") == Self.own + "\n" + Self.table)
            #expect(try node.contents()[Self.defaultHosts] == nil)
        }
    }

    /// Before, and the lines of the insertion with what surrounds them.
    @Test(
        "config_path goes into the table of the file's version",
        arguments: [
            ("version = 2\n", "version = 2\n{\(registry2)\n\(path)\n}"),
            ("version = 2", "version = 2\n{\(registry2)\n\(path)\n|}"),
            ("", "{[plugins.cri.registry]\n\(path)\n}{\(registry3)\n\(path)\n}"),
            (
                "disabled_plugins = []\n",
                "disabled_plugins = []\n{[plugins.cri.registry]\n\(path)\n}{\(registry3)\n\(path)\n}"
            ),
            (
                "version = 3\n[plugins]\n",
                "version = 3\n[plugins]\n{[plugins.\"io.containerd.cri.v1.images\".registry]\n\(path)\n}"
            ),
            ("version = 4\n", "version = 4\n{[plugins.\"io.containerd.cri.v1.images\".registry]\n\(path)\n}"),
            (
                "version = 2\n\(registry2) # mine\n  [\(registry2.dropFirst().dropLast()).headers]\n  A = ['b']\n",
                "version = 2\n\(registry2) # mine\n{\(path)\n}"
                    + "  [\(registry2.dropFirst().dropLast()).headers]\n  A = ['b']\n"
            ),
            (
                "version = 2\n\(registry2)\n  config_path = \"\" # none\n[debug]\n",
                "version = 2\n\(registry2)\n{#-   config_path = \"\" # none\n  \(path) # none\n}[debug]\n"
            ),
            (
                "version = 2\r\n\(registry2)\r\nconfig_path = ''\r\n",
                "version = 2\r\n\(registry2)\r\n{#- config_path = ''\r\n\(path)\n}"
            ),
            (
                "version = 2\n\(registry2)\nconfig_path = ''",
                "version = 2\n\(registry2)\n{#- config_path = ''\n\(path)\n|}"
            ),
            (
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nregistry.config_path = ''\n",
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\n{#- registry.config_path = ''\nregistry.\(path)\n}"
            ),
            ("version = 2\n\(registry2)", "version = 2\n\(registry2)\n{\(path)\n|}"),
            (
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.configs.'a.example'.auth]\nauth = 'x'\n",
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.configs.'a.example'.auth]\nauth = 'x'\n"
                    + "{\(registry2)\n\(path)\n}"
            ),
        ])
    func configPath(_ before: String, _ expected: String) throws {
        let node = try Node([Self.config: before])
        try node.checkRoundTrip(.containerd) { () throws in
            let marked = expected.replacing("{", with: MarkedBlock.begin + "\n")
                .replacing("|}", with: MarkedBlock.end).replacing("}", with: MarkedBlock.end + "\n")
            #expect(try node.content(Self.config) == marked)
            #expect(try node.content(Self.config + SetupPlan.backupSuffix) == before)
            #expect(node.examine(.containerd).allSatisfy { $0.problem == nil })
        }
    }

    @Test("config_path that is set is kept, and its directory used")
    func otherDirectory() throws {
        let text = "version = 2\n\(Self.registry2)\nconfig_path = \"/etc/hosts.d:/etc/docker/certs.d\"\n"
        let node = try Node([Self.config: text])
        try node.checkRoundTrip(.containerd) { () throws in
            #expect(try node.content(Self.config) == text)
            #expect(try node.content("etc/hosts.d/_default/hosts.toml") == Self.own + "\n" + Self.table)
        }
    }

    @Test(
        "what keeps the CRI plugin from loading is refused with its place",
        arguments: [
            (
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'a']\nendpoint = ['https://a']\n",
                "/etc/containerd/config.toml:2: mirrors: the CRI plugin does not load"
            ),
            (
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.configs.'a.example'.tls]\nca_file = 'x'\n",
                "/etc/containerd/config.toml:2: configs.a.example.tls: the CRI plugin does not load"
            ),
            (
                "version = 2\nplugins = {}\n",
                "/etc/containerd/config.toml:2: plugins.io.containerd.grpc.v1.cri.registry is written"
            ),
            (
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nregistry = { config_path = '' }\n",
                "/etc/containerd/config.toml:3: plugins.io.containerd.grpc.v1.cri.registry is written"
            ),
            ("version = ", "/etc/containerd/config.toml:1:11: not TOML"),
            (
                "version = 2\n# begin ociregistry setup\n",
                "/etc/containerd/config.toml:2: '# begin ociregistry setup' without"
            ),
        ])
    func refused(_ config: String, _ reason: String) throws {
        let refusal = try Node([Self.config: config]).refusal(.containerd)
        #expect(refusal?.hasPrefix(reason) == true, "\(refusal ?? "accepted")")
    }

    @Test("an imported table of the CRI plugin that would win is refused")
    func imports() throws {
        let node = try Node([
            Self.config: "version = 2\nimports = ['/etc/containerd/conf.d/*.toml']\n",
            "etc/containerd/conf.d/a.toml": "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nx = 1\n",
        ])
        #expect(
            try node.refusal(.containerd)?.hasPrefix("/etc/containerd/conf.d/a.toml:2: this imported table") == true)
    }

    @Test("with a disabled CRI plugin config.toml is left alone, and the reason said")
    func disabled() throws {
        let node = try Node([Self.config: "disabled_plugins = [\"cri\"]\n"])
        let plan = try node.setUp(.containerd)
        #expect(plan.notes.first?.contains("CRI plugin is disabled") == true)
        #expect(try node.content(Self.config) == "disabled_plugins = [\"cri\"]\n")
        #expect(plan.nextStep.contains("nothing has to be restarted"))
    }

    @Test("with --hosts-only config.toml is neither read nor written")
    func hostsOnly() throws {
        let node = try Node([Self.config: "not = toml ="])
        try node.setUp(.containerd, hostsOnly: true)
        #expect(try node.content(Self.defaultHosts) == Self.own + "\n" + Self.table)
        try node.remove(.containerd, hostsOnly: true)
        #expect(try node.contents() == [Self.config: "not = toml ="])
    }

    @Test(
        "the mirror becomes the first host of a file of somebody else",
        arguments: [
            (
                "server = 'https://a'\n\n# the first\n  [host.'https://b']\n  skip_verify = true\n",
                "server = 'https://a'\n\n{}# the first\n  [host.'https://b']\n  skip_verify = true\n"
            ),
            ("server = 'https://a'", "server = 'https://a'\n{|}"),
            ("[header]\na = 'b'\n[host.'c'.header]\nd = 'e'\n", "[header]\na = 'b'\n{}[host.'c'.header]\nd = 'e'\n"),
            ("[host.'https://b']", "{}[host.'https://b']"), ("", "{}"),
        ])
    func foreignHosts(_ before: String, _ expected: String) throws {
        let node = try Node([Self.defaultHosts: before])
        try node.checkRoundTrip(.containerd) { () throws in
            let marked = expected.replacing("{", with: MarkedBlock.begin + "\n" + Self.table)
                .replacing("|}", with: MarkedBlock.end).replacing("}", with: MarkedBlock.end + "\n")
            #expect(try node.content(Self.defaultHosts) == marked)
            #expect(node.examine(.containerd).last?.mirrors.first == Node.mirrorURL)
        }
    }

    @Test("a file that has the mirror as its first host is not changed, and one that has it later is refused")
    func present() throws {
        let first = "[host.\"http://mirror:8080\"]\n[host.\"http://b\"]\n"
        let node = try Node([Self.defaultHosts: first])
        try node.setUp(.containerd)
        #expect(try node.content(Self.defaultHosts) == first)
        let later = try Node([Self.defaultHosts: "[host.\"http://b\"]\n[host.\"http://mirror:8080\"]\n"])
        #expect(
            try later.refusal(.containerd)?.hasPrefix("/\(Self.defaultHosts):2: has http://mirror:8080 already") == true
        )
    }

    @Test("a directory with certificates alone is refused: containerd would ignore them")
    func certificates() throws {
        let node = try Node(["etc/containerd/certs.d/r.example/ca.crt": "x"])
        #expect(
            try node.refusal(.containerd, registries: ["r.example"])?.hasPrefix(
                "/etc/containerd/certs.d/r.example/ca.crt: containerd ignores certificates beside a hosts.toml") == true
        )
        let plan = try node.setUp(.containerd)
        #expect(plan.notes.first?.contains("does not use _default for") == true)
        #expect(plan.notes.first?.contains("r.example") == true)
    }

    @Test("a registry whose directory has _port_ is written there")
    func portDirectory() throws {
        let node = try Node()
        try node.files.directory("etc/containerd/certs.d/r.example_5000_")
        try node.setUp(.containerd, registries: ["r.example:5000"])
        #expect(try node.content("etc/containerd/certs.d/r.example_5000_/hosts.toml") == Self.own + "\n" + Self.table)
    }

    @Test("the authority is copied beside hosts.toml, and goes with it")
    func authority() throws {
        let node = try Node()
        let file = try TemporaryDirectory()
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        let authority = try file.write(pem, to: "ca.pem")
        try node.checkRoundTrip(.containerd, authority: authority, mirror: "https://mirror") { () throws in
            #expect(try node.content("etc/containerd/certs.d/_default/ociregistry-ca.pem") == Self.own + pem)
            #expect(
                try node.content(Self.defaultHosts).hasSuffix("dial_timeout = \"2s\"\nca = \"ociregistry-ca.pem\"\n"))
            #expect(node.examine(.containerd).allSatisfy { $0.problem == nil })
        }
        let key = try file.write("-----BEGIN PRIVATE KEY-----\n" + pem, to: "both.pem")
        #expect(
            try node.refusal(.containerd, "https://mirror", authority: key)?.contains("has a private key in it") == true
        )
    }

    @Test("the command that is said is the one that is needed")
    func nextStep() throws {
        let node = try Node()
        #expect(try node.setUp(.containerd).nextStep == "To use it: systemctl restart containerd")
        #expect(try node.setUp(.containerd, "http://other").nextStep.contains("nothing has to be restarted"))
    }

    @Test(
        "a mirror below a path keeps it, and other addresses are refused",
        arguments: [
            ("http://m", "http://m"), ("HTTPS://M:1/", "https://m:1"), ("https://[::1]:8080", "https://[::1]:8080"),
            ("http://m/images/eu", "http://m/images/eu"), ("m:8080", nil), ("ftp://m", nil), ("http://u:p@m", nil),
            ("http://", nil),
            ("http://m?x", nil), ("http://m/a?x", nil), ("http://m/a#x", nil), ("http://m/a\"b", nil),
            ("http://m/../a", nil),
            ("http://m/v2", nil), ("http://m:0", nil), ("http://m:99999", nil), ("http://m\n", nil),
            ("http://m//a", nil),
        ])
    func addresses(_ text: String, _ expected: String?) {
        #expect((try? MirrorURL(text))?.description == expected)
    }
}
