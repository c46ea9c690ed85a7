// What the documents say about the tree has to be true of it.

import Foundation
import TestSupport
import Testing

@Suite struct DocumentationTests {
    private static let documents = ["README.md"] + SourceTree.paths(under: ["docs"], suffix: ".md")

    @Test("the commands named in the README exist and are executable") func readmeCommands() throws {
        let readme = try SourceTree.text("README.md")
        let words = readme.split { " \n`()|".contains($0) }.filter { $0.hasPrefix("scripts/") }
        #expect(words.contains("scripts/serve") && words.contains("scripts/test"))
        for word in Set(words) {
            #expect(FileManager.default.fileExists(atPath: "\(Checkout.root)/\(word)"), "README.md names \(word)")
        }
        for command in [
            "scripts/serve", "scripts/test", "scripts/soak", "scripts/bench", "scripts/load-test",
            "scripts/hello-world/build", ".ci/run",
        ] {
            #expect(
                FileManager.default.isExecutableFile(atPath: "\(Checkout.root)/\(command)"), "\(command) cannot be run")
        }
    }

    /// Links to files of the tree, `[text](path#anchor)`, lead somewhere.
    @Test("relative links in the documentation lead to existing files") func links() throws {
        for document in Self.documents {
            let folder = document.split(separator: "/").dropLast().joined(separator: "/")
            for piece in try SourceTree.text(document).components(separatedBy: "](").dropFirst() {
                let target = piece.prefix { $0 != ")" && $0 != "#" && $0 != " " }
                guard !target.isEmpty, !target.contains("://") else { continue }
                let path = "\(Checkout.root)/\(folder)/\(target)"
                #expect(FileManager.default.fileExists(atPath: path), "\(document) links to \(target)")
            }
        }
    }

    @Test("docs/architecture.md names every layer") func layers() throws {
        let text = try SourceTree.text("docs/architecture.md")
        for layer in try FileManager.default.contentsOfDirectory(atPath: "\(Checkout.root)/Sources/Registry") {
            #expect(text.contains("\(layer)/"), "docs/architecture.md says nothing of Sources/Registry/\(layer)")
        }
    }
}
