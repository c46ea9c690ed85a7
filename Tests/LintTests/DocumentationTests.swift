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

    @Test("relative links in the documentation lead to existing files and headings") func links() throws {
        for document in Self.documents {
            let folder = document.split(separator: "/").dropLast().joined(separator: "/")
            for piece in try SourceTree.text(document).components(separatedBy: "](").dropFirst() {
                let link = piece.prefix { $0 != ")" && $0 != " " }
                let parts = link.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
                guard !link.contains("://"), let file = parts.first else { continue }
                let target = file.isEmpty ? document : folder.isEmpty ? "\(file)" : "\(folder)/\(file)"
                let path = "\(Checkout.root)/\(target)"
                #expect(FileManager.default.fileExists(atPath: path), "\(document) links to \(target)")
                guard parts.count > 1, target.hasSuffix(".md") else { continue }
                let text = try String(contentsOfFile: path, encoding: .utf8)
                #expect(Self.anchors(text).contains("\(parts[1])"), "\(document) links to \(link)")
            }
        }
    }

    /// The anchors that a heading gets where the documents are shown: lower case, hyphens for spaces, no punctuation.
    private static func anchors(_ text: String) -> [String] {
        text.split(separator: "\n").filter { $0.hasPrefix("#") }.map { heading in
            let words = heading.drop { $0 == "#" || $0 == " " }.lowercased()
            return String(
                words.compactMap { $0 == " " ? "-" : $0.isLetter || $0.isNumber || "-_".contains($0) ? $0 : nil })
        }
    }

    @Test("docs/architecture.md names every layer") func layers() throws {
        let text = try SourceTree.text("docs/architecture.md")
        for layer in try FileManager.default.contentsOfDirectory(atPath: "\(Checkout.root)/Sources/Registry") {
            #expect(text.contains("\(layer)/"), "docs/architecture.md says nothing of Sources/Registry/\(layer)")
        }
    }
}
