// The configurations in the documents are read as they are written there.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI

@Suite struct DocumentedConfigurationTests {
    /// A block of YAML in a document, with the heading that it is under.
    private struct Block {
        let heading: String
        let text: String
    }

    private static func blocks(_ document: String) throws -> [Block] {
        var blocks: [Block] = []
        var heading = ""
        var lines: [Substring]?
        for line in try SourceTree.text(document).split(separator: "\n", omittingEmptySubsequences: false) {
            if line == "```", let text = lines {
                blocks.append(Block(heading: heading, text: text.joined(separator: "\n") + "\n"))
                lines = nil
            } else if lines != nil {
                lines?.append(line)
            } else if line == "```yaml" {
                lines = []
            } else if line.hasPrefix("#") {
                heading = String(line.drop { "# ".contains($0) })
            }
        }
        return blocks
    }

    /// Files that a configuration names have to exist, so they are made in a directory that takes the place of `/`.
    private static func load(_ block: Block) throws -> Config {
        let files = try TemporaryDirectory()
        var text = block.text
        for path in Set(block.text.matches(of: /\/(etc|run)\/[A-Za-z0-9.\/_-]+/).map { String($0.output.0) }) {
            try files.write("a secret\n", to: String(path.dropFirst()))
            text = text.replacing(path, with: files.file(String(path.dropFirst())))
        }
        for name in block.text.matches(of: /\b[a-z-]+\.crt\b/) { try files.write("PEM\n", to: String(name.output)) }
        return try ConfigDecoder.load(path: files.write(text, to: "ociregistry.yaml")) { "value of \($0)" }
    }

    @Test(
        "every configuration in the documents is accepted",
        arguments: ["docs/upstreams.md", "docs/configuration.md", "docs/getting-started.md", "docs/security.md"])
    func accepted(document: String) throws {
        let blocks = try Self.blocks(document)
        #expect(!blocks.isEmpty)
        for block in blocks {
            do {
                _ = try Self.load(block)
            } catch {
                Issue.record("\(document), \(block.heading):\n\(block.text)\(error)")
            }
        }
    }

    @Test("every recipe configures an upstream, and each section of recipes has one") func recipes() throws {
        let blocks = try Self.blocks("docs/upstreams.md")
        for block in blocks {
            let config = try Self.load(block)
            let isUsed =
                !config.registries.isEmpty || config.dockerConfig != nil || config.caFile != nil || config.airGapped
            #expect(isUsed, "\(block.heading)")
        }
        let headings = try SourceTree.text("docs/upstreams.md").split(separator: "\n").filter { $0.hasPrefix("## ") }
        let without = headings.map { $0.dropFirst(3) }.filter { name in !blocks.contains { $0.heading == name } }
        #expect(without == ["When it does not work"])
    }

    @Test("the endpoints of the recipes and of the table of paths lead where the documents say") func paths() throws {
        let harbor = try EndpointAddress(parsing: "https://harbor.example/dockerhub-proxy")
        #expect(harbor.pathPrefix.isEmpty && harbor.repositoryPrefix == "dockerhub-proxy")
        let artifactory = try EndpointAddress(parsing: "https://jfrog.example/artifactory/api/docker/hub-remote/v2")
        #expect(artifactory.pathPrefix == "/artifactory/api/docker/hub-remote")
        #expect(artifactory.repositoryPrefix.isEmpty)
        let both = try EndpointAddress(parsing: "https://proxy.example/base/v2/hub")
        #expect(both.pathPrefix == "/base" && both.repositoryPrefix == "hub")
    }
}
