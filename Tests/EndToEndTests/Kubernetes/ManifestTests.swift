// The rendered manifests against Kubernetes' own schemas and rules, and against the files that they are made of.

import Foundation
import TestSupport
import Testing

@testable import Configuration

@Suite(.needs(.kubernetesTools)) struct ManifestTests {
    /// The oldest version that docs/kubernetes.md names, and the newest whose schema is known.
    private static let versions = ["1.30.0", "1.37.0"]

    private static func validate(_ text: String, version: String) throws -> Command.Result {
        let files = try TemporaryDirectory()
        return try Command.run([
            "kubernetes-validate", "--strict", "--quiet", "-k", version, files.write(text, to: "resources.yaml"),
        ])
    }

    @Test("kubectl renders it, and Kubernetes' schemas accept it", arguments: Manifests.allCases)
    func schemas(manifests: Manifests) throws {
        // The operator's resources have schemas of their own.
        let text = try manifests.render().text.components(separatedBy: "\n---\n").filter {
            !$0.contains("apiVersion: monitoring.coreos.com/")
        }.joined(separator: "\n---\n")
        for version in Self.versions {
            let result = try Self.validate(text, version: version)
            #expect(result.status == 0, "\(version): \(result)")
        }
    }

    @Test("the validation finds a misspelled key and a wrong type", arguments: Self.versions)
    func validation(version: String) throws {
        let text = try Manifests.cluster.render().text
        for (key, wrong) in [("minReadySeconds:", "minReadySecond:"), ("replicas: 2", "replicas: two")] {
            let result = try Self.validate(text.replacingOccurrences(of: key, with: wrong), version: version)
            #expect(result.status != 0, "\(wrong): \(result)")
        }
    }

    @Test(
        "pods of the cluster overlay meet Pod Security restricted",
        arguments: [Manifests.cluster, .clusterOnOpenShift])
    func restricted(manifests: Manifests) throws {
        let rendered = try manifests.render()
        let pod = try rendered.pod
        #expect(
            try rendered.resource("Namespace", "ociregistry").at(
                "metadata", "labels", "pod-security.kubernetes.io/enforce")?.text == "restricted")
        #expect(pod.keys.filter { $0.hasPrefix("host") }.isEmpty && pod["initContainers"] == nil)
        #expect(pod.at("securityContext", "runAsNonRoot")?.text == "true")
        #expect(pod.at("securityContext", "runAsUser")?.text != "0")
        #expect(pod.at("securityContext", "seccompProfile", "type")?.text == "RuntimeDefault")
        let kinds = (pod["volumes"]?.items ?? []).flatMap { $0.keys.filter { $0 != "name" } }
        #expect(Set(kinds).isSubset(of: ["configMap", "secret"]))
        for container in pod["containers"]?.items ?? [] {
            let context = try #require(container["securityContext"])
            #expect(context["allowPrivilegeEscalation"]?.text == "false" && context["privileged"] == nil)
            #expect(try #require(context["capabilities"]).texts("drop") == ["ALL"])
            #expect(context.at("capabilities", "add") == nil && context["readOnlyRootFilesystem"]?.text == "true")
            #expect((container["ports"]?.items ?? []).allSatisfy { $0["hostPort"] == nil })
        }
    }

    @Test(
        "pods of the node overlay write to two directories of the node at most, and have no privileges",
        arguments: [Manifests.node, .nodeWithHostsOnly, .nodeWithNodePort, .nodeWithoutSetup])
    func nodeExceptions(manifests: Manifests) throws {
        let rendered = try manifests.render()
        let pod = try rendered.pod
        #expect(pod.keys.filter { $0.hasPrefix("host") }.isEmpty)
        let paths = try Dictionary(
            uniqueKeysWithValues: (pod["volumes"]?.items ?? []).filter { $0["hostPath"] != nil }.map {
                (try #require($0["name"]?.text), try #require($0.at("hostPath", "path")?.text))
            })
        var expected = ["cache": "/var/cache/ociregistry"]
        if manifests != .nodeWithoutSetup { expected["mirrors"] = "/etc/containerd/certs.d" }
        if [.node, .nodeWithNodePort].contains(manifests) { expected["containerd"] = "/etc/containerd" }
        #expect(paths == expected)
        let containers = (pod["initContainers"]?.items ?? []) + (pod["containers"]?.items ?? [])
        #expect(containers.count == (manifests == .nodeWithoutSetup ? 1 : 2))
        for container in containers {
            for mount in container["volumeMounts"]?.items ?? [] where mount["readOnly"]?.text != "true" {
                #expect(["cache", "mirrors"].contains(mount["name"]?.text))
            }
            let context = try #require(container["securityContext"])
            #expect(context["allowPrivilegeEscalation"]?.text == "false" && context["privileged"] == nil)
            #expect(try #require(context["capabilities"]).texts("drop") == ["ALL"])
            #expect(context.at("capabilities", "add") == nil && context["readOnlyRootFilesystem"]?.text == "true")
        }
    }

    @Test(
        "the hooks set up and remove the port that the node has", arguments: [Manifests.node, .nodeWithHostsOnly])
    func hooks(manifests: Manifests) throws {
        let rendered = try manifests.render()
        let options = manifests == .nodeWithHostsOnly ? ["--hosts-only"] : []
        let port = try rendered.server.named("http", in: "ports")
        let address = "http://\(port["hostIP"]?.text ?? ""):\(port["hostPort"]?.text ?? "")"
        let program = try rendered.server.texts("command")
        let setup = ["setup", "containerd", "--root", "/host", "--mirror", address] + options
        let initial = try rendered.pod.named("setup", in: "initContainers")
        #expect(initial.texts("command") == program && initial.texts("args") == setup)
        let hooks = try #require(try rendered.server["lifecycle"])
        #expect(hooks.at("postStart", "exec")?.texts("command") == program + setup)
        #expect(hooks.at("preStop", "exec")?.texts("command") == program + setup.prefix(4) + ["--remove"] + options)
        // Both see the runtime's configuration at the same place.
        let mounts = initial["volumeMounts"]?.items.map { [$0["mountPath"]?.text, $0["name"]?.text] } ?? []
        let server = try rendered.server["volumeMounts"]?.items.map { [$0["mountPath"]?.text, $0["name"]?.text] } ?? []
        #expect(mounts.allSatisfy { server.contains($0) })
        #expect(mounts.contains(["/host/etc/containerd/certs.d", "mirrors"]))
    }

    @Test("with a node port, the init container sets up the node's own address, and no hook is left")
    func nodePort() throws {
        let component = try Manifests.nodeWithNodePort.render()
        let nodePort = try component.resource("Service", "ociregistry")
        #expect(nodePort.at("spec", "trafficDistribution")?.text == "PreferSameNode")
        let number = nodePort["spec"]?["ports"]?.items.first?["nodePort"]?.text ?? ""
        let arguments = try component.pod.named("setup", in: "initContainers").texts("args")
        #expect(arguments.last == "http://$(HOST_IP):\(number)")
        #expect(try component.server["lifecycle"] == nil)
    }

    @Test(
        "every selector selects the pods of its own overlay, in its namespace",
        arguments: Manifests.allCases.filter { $0 != .monitoring })
    func selectors(manifests: Manifests) throws {
        let rendered = try manifests.render()
        let namespaces = rendered.resources.filter { $0["kind"]?.text != "Namespace" }.map {
            $0.at("metadata", "namespace")?.text
        }
        #expect(Set(namespaces) == [rendered.resources("Namespace").first?.at("metadata", "name")?.text])
        let labels = try #require(try rendered.workload.at("spec", "template", "metadata", "labels"))
        let selectors =
            rendered.resources("Service").map { $0.at("spec", "selector") }
            + rendered.resources("NetworkPolicy").map { $0.at("spec", "podSelector", "matchLabels") }
            + rendered.resources("PodDisruptionBudget").map { $0.at("spec", "selector", "matchLabels") }
        #expect(try rendered.workload.at("spec", "selector", "matchLabels")?.keys.count == 2)
        for selector in selectors {
            let selector = try #require(selector)
            #expect(selector.keys.contains("app.kubernetes.io/component"))
            #expect(selector.keys.allSatisfy { selector[$0]?.text == labels[$0]?.text })
        }
    }
}
