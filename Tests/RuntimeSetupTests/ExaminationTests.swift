// What is found in the files of each runtime.

import Glibc
import TestSupport
import Testing

@testable import RuntimeSetup

/// A directory with a node's `etc`.
struct Node {
    let files: TemporaryDirectory

    init(_ contents: [String: String] = [:]) throws {
        files = try TemporaryDirectory()
        for (path, content) in contents { try files.write(content, to: path) }
    }

    var root: String { files.path }

    func examine(_ runtime: Runtime) -> [RuntimeFinding] { RuntimeConfiguration.examine(runtime, root: root) }

    /// A finding without its file, for comparisons: registries, mirrors, and the problem below this root.
    func summary(_ runtime: Runtime) -> [String] {
        examine(runtime).map { finding in
            let file = finding.file.hasPrefix(root) ? String(finding.file.dropFirst(root.count)) : finding.file
            return "\(file) \(finding.registries) \(finding.mirrors) "
                + (finding.problem?.replacing(root, with: "") ?? "ok")
        }
    }
}

@Suite struct ExaminationTests {
    static let mirror = "[host.\"http://mirror:8080\"]\ncapabilities = [\"pull\", \"resolve\"]\n"

    @Test("a node without files has no findings", arguments: Runtime.allCases)
    func empty(_ runtime: Runtime) throws {
        #expect(try Node().examine(runtime).isEmpty)
    }

    @Test(
        "config_path is found in the table of each version",
        arguments: [
            ("[plugins.cri.registry]\nconfig_path = '/etc/containerd/certs.d'", true),
            (
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/etc/containerd/certs.d'",
                true
            ),
            (
                "version = 3\n[plugins.'io.containerd.cri.v1.images']\nregistry.config_path = '/etc/b'",
                true
            ),
            (
                "version = 3\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/etc/containerd/certs.d'",
                false
            ),
            ("version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = ''", false),
            ("version = 2\n", false), ("", false),
        ])
    func configPath(_ text: String, _ isSet: Bool) throws {
        let node = try Node(["etc/containerd/config.toml": text])
        let findings = node.examine(.containerd)
        #expect(findings.count == 1)
        #expect((findings.first?.problem == nil) == isSet)
        #expect((findings.first?.remedy == nil) == isSet)
    }

    @Test("hosts.toml files are found in the order of names, with their mirrors in the order of the file")
    func hosts() throws {
        let node = try Node([
            "etc/containerd/config.toml":
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/etc/containerd/certs.d'",
            "etc/containerd/certs.d/_default/hosts.toml": Self.mirror,
            "etc/containerd/certs.d/docker.io/hosts.toml":
                "server = 'https://a'\n[host.'http://z:1']\n[host.'http://a:1']\nca = 'missing.pem'\n",
            "etc/containerd/certs.d/r.example_5000_/hosts.toml": "[host.'http://m:1']\ncapabilities = ['pull']\n",
            "etc/containerd/certs.d/certs.only/ca.crt": "",
            "etc/containerd/certs.d/broken/hosts.toml": "[host",
        ])
        #expect(
            node.summary(.containerd) == [
                "/etc/containerd/config.toml [] [] ok",
                "/etc/containerd/certs.d/_default/hosts.toml [\"*\"] [\"http://mirror:8080\"] ok",
                "/etc/containerd/certs.d/broken/hosts.toml [\"broken\"] [] "
                    + "/etc/containerd/certs.d/broken/hosts.toml:1:6: not TOML: a header must end with ]",
                "/etc/containerd/certs.d/certs.only/hosts.toml [\"certs.only\"] [] ok",
                "/etc/containerd/certs.d/docker.io/hosts.toml [\"docker.io\"] [\"http://z:1\", \"http://a:1\"] "
                    + "the certificate authority missing.pem of http://a:1 is missing",
                "/etc/containerd/certs.d/r.example_5000_/hosts.toml [\"r.example:5000\"] [\"http://m:1\"] "
                    + "http://m:1 has no capability \"resolve\": tags are asked of the registry itself",
            ])
    }

    @Test("mirrors in config.toml are found, and are a problem beside config_path")
    func mirrorTables() throws {
        let table = "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\n"
        let mirrors = "[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\nendpoint = ['http://m:1']\n"
        let old = try Node(["etc/containerd/config.toml": table + mirrors])
        #expect(old.examine(.containerd).map(\.registries) == [["docker.io"]])
        #expect(old.examine(.containerd).map(\.mirrors) == [["http://m:1"]])
        let both = try Node(["etc/containerd/config.toml": table + "config_path = '/etc/x'\n" + mirrors])
        #expect(both.summary(.containerd).first?.contains("config.toml:4: mirrors beside config_path") == true)
    }

    @Test("an imported file decides when it is read last")
    func imports() throws {
        let main =
            "version = 2\nimports = ['conf.d/*.toml']\n"
            + "[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/a'\n"
        let node = try Node([
            "etc/containerd/config.toml": main,
            "etc/containerd/conf.d/10.toml": "[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/etc/b'\n",
            "etc/b/_default/hosts.toml": Self.mirror,
        ])
        #expect(node.summary(.containerd).last == "/etc/b/_default/hosts.toml [\"*\"] [\"http://mirror:8080\"] ok")
        try node.files.write(
            "[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'x'\n", to: "etc/containerd/conf.d/20.toml")
        #expect(node.summary(.containerd).first?.contains("conf.d/20.toml:1: has a table of the CRI plugin") == true)
    }

    @Test("the entry of registries.conf.d that is read last is the one that counts")
    func registriesConf() throws {
        let entry =
            "[[registry]]\nprefix = 'docker.io'\nlocation = 'docker.io'\n"
            + "[[registry.mirror]]\nlocation = 'm:1/docker.io'\n"
        let node = try Node([
            "etc/containers/registries.conf": "unqualified-search-registries = []\n" + entry,
            "etc/containers/registries.conf.d/50.conf": entry + "[[registry]]\nlocation = 'quay.io'\nblocked = true\n",
            "etc/containers/registries.conf.d/note.txt": "[",
        ])
        #expect(
            node.summary(.podman) == [
                "/etc/containers/registries.conf [\"docker.io\"] [\"m:1/docker.io\"] "
                    + "is replaced by /etc/containers/registries.conf.d/50.conf, which is read later",
                "/etc/containers/registries.conf.d/50.conf [\"docker.io\"] [\"m:1/docker.io\"] ok",
                "/etc/containers/registries.conf.d/50.conf [\"quay.io\"] [] is blocked: nothing is pulled",
            ])
        #expect(node.summary(.crio) == node.summary(.podman))
        let old = try Node(["etc/containers/registries.conf": "[registries.search]\nregistries = ['docker.io']\n"])
        #expect(old.summary(.crio).first?.contains("registries.conf:1: registries is of the first format") == true)
    }

    @Test("daemon.json has mirrors for Docker Hub alone")
    func daemon() throws {
        func findings(_ text: String) throws -> [String] { try Node(["etc/docker/daemon.json": text]).summary(.docker) }
        #expect(
            try findings(#"{"registry-mirrors": ["http://m:1", "https://n"], "debug": true}"#) == [
                "/etc/docker/daemon.json [\"docker.io\"] [\"http://m:1\", \"https://n\"] ok"
            ])
        #expect(try findings("{}") == ["/etc/docker/daemon.json [] [] has no registry-mirrors"])
        #expect(try findings("{]") == ["/etc/docker/daemon.json [] [] /etc/docker/daemon.json: not a JSON object"])
        #expect(
            try findings("{\n\"registry-mirrors\": 1}") == [
                "/etc/docker/daemon.json [] [] /etc/docker/daemon.json:2: registry-mirrors: must be a list of URLs"
            ])
        #expect(try findings(" \n").isEmpty)
    }

    @Test("the mirrors and missing authorities of k3s are found")
    func k3s() throws {
        let node = try Node([
            "etc/rancher/k3s/registries.yaml": """
            mirrors:
              "*":
                endpoint: ["https://m:1"]
              docker.io:
                endpoint:
                  - http://n:1
            configs:
              "m:1":
                tls:
                  ca_file: /etc/rancher/k3s/none.pem
            """
        ])
        #expect(
            node.summary(.k3s) == [
                "/etc/rancher/k3s/registries.yaml [\"*\"] [\"https://m:1\"] "
                    + "the certificate authority /etc/rancher/k3s/none.pem is missing",
                "/etc/rancher/k3s/registries.yaml [\"docker.io\"] [\"http://n:1\"] ok",
            ])
        let broken = try Node(["etc/rancher/k3s/registries.yaml": "mirrors: ["])
        #expect(broken.summary(.k3s).first?.contains("registries.yaml:2: not YAML") == true)
    }

    @Test(
        "files that cannot be read are findings",
        arguments: [
            (Runtime.containerd, "etc/containerd/config.toml"), (.podman, "etc/containers/registries.conf"),
            (.docker, "etc/docker/daemon.json"), (.k3s, "etc/rancher/k3s/registries.yaml"),
        ])
    func unreadable(_ runtime: Runtime, _ path: String) throws {
        let directory = try Node()
        try directory.files.directory(path)
        #expect(directory.summary(runtime) == ["/\(path) [] [] /\(path): not a regular file"])
        let large = try Node([path: String(repeating: " ", count: NodeFiles.maximumBytes + 1)])
        #expect(large.summary(runtime) == ["/\(path) [] [] /\(path): larger than 1048576 bytes"])
    }

    @Test("a symbolic link below another root is not followed")
    func links() throws {
        let node = try Node(["elsewhere/daemon.json": "{}"])
        try node.files.directory("etc")
        #expect(symlink("../elsewhere", node.files.file("etc/docker")) == 0)
        #expect(node.summary(.docker).first?.contains("/etc/docker: a symbolic link") == true)
    }
}
