// The examples of docs/kubernetes.md, as a site would have them in files.

import Foundation
import TestSupport
import Testing

@testable import Configuration

@Suite(.needs(.kubernetesTools)) struct DocumentedSiteTests {
    /// The content of the document's YAML blocks that begin with a comment `# name`.
    private static func examples(_ name: String) throws -> [String] {
        try SourceTree.text("docs/kubernetes.md").components(separatedBy: "\n```yaml\n# \(name)\n").dropFirst().map {
            try #require($0.components(separatedBy: "\n```").first) + "\n"
        }
    }

    @Test("every example kustomization renders, and sets the image of each container that it names")
    func kustomizations() throws {
        var files = ["registry.example": "password"]
        for name in ["config.yaml", "through-the-cluster.yaml"] { files[name] = try Self.examples(name).first }
        #expect(files.count == 3)
        let examples = try Self.examples("kustomization.yaml")
        #expect(examples.count > 4)
        for example in examples {
            let text = example.replacingOccurrences(of: "../ociregistry", with: "CHECKOUT")
            let rendered = try RenderedManifests(kustomization: text, files: files)
            let pod = try rendered.pod
            let containers = (pod["initContainers"]?.items ?? []) + (pod["containers"]?.items ?? [])
            if example.contains("newName: ") {
                let name = "registry.corp.example/platform/ociregistry:"
                #expect(containers.allSatisfy { $0["image"]?.text?.hasPrefix(name) == true })
            }
            if example.contains("behavior: replace") {
                #expect(try rendered.configuration == files["config.yaml"])
                #expect(rendered.resources("ConfigMap").count == 1)
            }
            if example.contains("secretGenerator") {
                let secret = try rendered.resource("Secret", "ociregistry")
                #expect(secret.at("data", "registry.example")?.text == Data("password".utf8).base64EncodedString())
                let volume = try pod.named("secrets", in: "volumes")
                #expect(volume.at("secret", "secretName")?.text == "ociregistry")
            }
        }
    }

    @Test("with the example configuration, a node pulls through the cluster", .needs(.curl)) func chain() throws {
        let cluster = try OciRegistryProcess(arguments: ["--hello-world"])
        let text = try #require(try Self.examples("config.yaml").first)
        let registries = try #require(text.components(separatedBy: "\nregistries:\n").last)
        let address = "http://ociregistry.ociregistry.svc:8080"
        #expect(registries.contains(address))
        let node = try OciRegistryProcess(
            registries: registries.replacingOccurrences(of: address, with: "http://\(cluster.address)"))
        let result = try Command.run([
            "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
            "http://\(node.address)/v2/docker.io/library/hello-world/manifests/latest",
        ])
        #expect(result.text == "200")
        #expect(cluster.process.errors.text.contains("/v2/library/hello-world/manifests/latest?ns=docker.io"))
    }

    @Test("check-config accepts the example configuration of nodes") func configuration() throws {
        let files = try TemporaryDirectory()
        let text = try #require(try Self.examples("config.yaml").first)
        let result = try Command.run([Checkout.server, "check-config", files.write(text, to: "config.yaml")])
        #expect(result.status == 0 && result.text.contains("1 by pattern"), "\(result)")
    }
}
