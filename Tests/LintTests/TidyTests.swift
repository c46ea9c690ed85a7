// Lint rules that can be read off the source: which layer may use which, which folder may import what, and
// the small habits that keep files readable. Every finding is `path:line: what`.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import ImageArchive
@testable import OCI

@Suite struct TidyTests {
    /// A folder of `Sources/Registry`, and the modules it may import beside the standard library.
    struct Layer {
        let name: String
        let modules: Set<String>
    }

    /// Lowest first: a layer uses only layers above it in this list. docs/architecture.md says what each is for.
    static let layers = [
        Layer(name: "HTTP", modules: ["OCI"]),
        Layer(name: "Metrics", modules: ["OCI"]),
        Layer(name: "Logging", modules: ["Configuration", "Glibc", "Logging", "OCI", "Synchronization"]),
        Layer(name: "Policy", modules: ["Configuration", "DequeModule", "Glibc", "OCI"]),
        Layer(name: "Loop", modules: ["CLibuv", "CLinux", "DequeModule", "Glibc", "OCI"]),
        Layer(
            name: "Store",
            modules: ["BasicContainers", "CLinux", "Configuration", "DequeModule", "Glibc", "Logging", "OCI"]),
        Layer(name: "Curl", modules: ["CCurl", "COpenSSL", "Glibc", "OCI"]),
        Layer(name: "Pull", modules: ["Configuration", "DequeModule", "Logging", "OCI"]),
        Layer(name: "Load", modules: ["Configuration", "ImageArchive", "Logging", "OCI"]),
        Layer(name: "Server", modules: ["Logging", "OCI"]),
        Layer(
            name: "API",
            modules: [
                "BasicContainers", "BuiltinImage", "CLinux", "Configuration", "Glibc", "ImageArchive", "Logging", "OCI",
            ]),
    ]

    /// What the other modules may import: C libraries and packages. What they may use of this package, the compiler
    /// keeps.
    static let outside: [String: Set<String>] = [
        "OCI": ["COpenSSL", "Glibc"], "Configuration": ["CPCRE2", "CYAML", "Glibc"],
        "ImageArchive": ["CArchive", "Glibc"], "BuiltinImage": [], "Page": [], "RuntimeSetup": ["Glibc"],
        "Doctor": ["CCurl", "Glibc", "Synchronization"],
        "App": ["ArgumentParser", "Glibc", "Logging"], "LoadTest": ["ArgumentParser", "Glibc"], "Counted": [],
    ]

    /// The files that decode JSON, the one thing Foundation is used for; the full Foundation would add tens of
    /// megabytes.
    static let foundationFiles: Set<String> = [
        "Sources/OCI/Manifest.swift", "Sources/Registry/Policy/Upstreams/TokenReply.swift",
        "Sources/Registry/Policy/Credentials/CredentialHelperReply.swift",
        "Sources/Registry/Policy/Credentials/DockerConfig.swift",
        "Sources/Registry/Policy/Credentials/IdentityTokenExchange.swift",
        "Sources/Registry/Policy/Credentials/AWS/AWSAnswers.swift",
        "Sources/Registry/API/Admin/AdminJobs.swift", "Sources/Registry/Policy/Lists/ReferrersIndex.swift",
        "Sources/Registry/Policy/Lists/TagList.swift",
        "Sources/ImageArchive/ArchiveDocuments.swift", "Sources/RuntimeSetup/Docker/JSONText.swift",
        "Sources/RuntimeSetup/Docker/DaemonJSONSetup.swift",
    ]

    static let maximumSourceLines = 300
    static let maximumColumns = 120

    private static let registry = Result { try SourceTree.swiftFiles(under: "Sources/Registry") }
    private static let sources = Result { try SourceTree.swiftFiles(under: "Sources") }

    @Test("a layer uses only layers listed before it") func layerOrder() throws {
        expectNone(Self.layerFindings(in: try Self.registry.get()))
    }

    @Test("the layer rule reports a use of a later layer") func layerRule() {
        let below = SourceFile(
            path: "Sources/Registry/HTTP/A.swift", text: "struct Inner {\n    let upper: Outer? // Other\n}")
        let above = SourceFile(path: "Sources/Registry/Pull/B.swift", text: "final class Outer { let inner: Inner }")
        #expect(
            Self.layerFindings(in: [below, above]) == [
                "Sources/Registry/HTTP/A.swift:2: HTTP uses Outer of Pull, a later layer"
            ])
    }

    private static func layerFindings(in files: [SourceFile]) -> [String] {
        let order = Self.layers.map(\.name)
        // Where each type at the top of a file is declared; and where a name is declared at all, nested ones included.
        var types: [String: Set<Int>] = [:]
        var names: [String: Set<Int>] = [:]
        for file in files {
            guard let layer = file.layer, let position = order.firstIndex(of: layer) else { continue }
            for declaration in file.declarations {
                names[declaration.name, default: []].insert(position)
                if declaration.depth == 0, !declaration.isPrivate {
                    types[declaration.name, default: []].insert(position)
                }
            }
        }
        var findings: [String] = []
        for file in files {
            guard let layer = file.layer, let position = order.firstIndex(of: layer) else {
                findings.append("\(file.path):1: this folder is not in the list of layers")
                continue
            }
            for (index, token) in file.tokens.enumerated() where token.isTypeName {
                // A name after a dot is a member; one that an allowed layer declares as well is taken for that one.
                guard index == 0 || file.tokens[index - 1].text != ".", let homes = types[token.text],
                    names[token.text, default: []].allSatisfy({ $0 > position })
                else { continue }
                let later = homes.map { order[$0] }.sorted().joined(separator: ", ")
                findings.append("\(file.path):\(token.line): \(layer) uses \(token.text) of \(later), a later layer")
            }
        }
        return findings
    }

    @Test("C libraries and packages are imported only where they are allowed")
    func imports() throws {
        let modules = Set(Self.outside.keys).union(["Registry"])
        var findings: [String] = []
        for file in try Self.sources.get() {
            let module = String(file.path.split(separator: "/")[1])
            let allowed =
                Self.layers.first { $0.name == file.layer }?.modules ?? Self.outside[module, default: []].union(modules)
            for (index, token) in file.tokens.enumerated() where token.text == "import" && index + 1 < file.tokens.count
            {
                let name = file.tokens[index + 1].text
                if name == "FoundationEssentials", Self.foundationFiles.contains(file.path) { continue }
                if !allowed.contains(name) {
                    findings.append("\(file.path):\(token.line): imports \(name), which is not allowed here")
                }
            }
        }
        expectNone(findings)
    }

    /// What can stop the process needs its reason beside it, on the same line or just before.
    @Test("force unwraps and force tries have a comment with the reason") func traps() throws {
        expectNone(Self.trapFindings(in: try Self.sources.get()))
    }

    @Test("the trap rule reports force unwraps and tries without a comment") func trapRule() {
        let text = """
            let a = b!
            let c = d! // because
            if !e, f != g, h { print("fine!") }
            let i = try! j()
            """
        let findings = Self.trapFindings(in: [SourceFile(path: "Sources/App/A.swift", text: text)])
        #expect(findings.map { $0.prefix { $0 != "'" } } == ["Sources/App/A.swift:1: ", "Sources/App/A.swift:4: "])
    }

    private static func trapFindings(in files: [SourceFile]) -> [String] {
        var findings: [String] = []
        for file in files {
            for (index, token) in file.tokens.enumerated() where canTrap(file.tokens, index) {
                if file.commentLines.isDisjoint(with: [token.line, token.line - 1]) {
                    findings.append(
                        "\(file.path):\(token.line): '\(token.text)' without a comment that says why it cannot fail")
                }
            }
        }
        return findings
    }

    private static func canTrap(_ tokens: [SwiftToken], _ index: Int) -> Bool {
        if tokens[index].text == "fatalError" { return true }
        guard index > 0, tokens[index].text == "!", tokens[index].touchesPrevious else { return false }
        if index + 1 < tokens.count, tokens[index + 1].text == "=", tokens[index + 1].touchesPrevious { return false }
        // After a name or a closing bracket it unwraps (or is `try!`, `as!`, or such a type); elsewhere it means "not".
        return tokens[index - 1].isName || [")", "]", "}", "\"", ">"].contains(tokens[index - 1].text)
    }

    /// One thread, so no actors and no async; one package, so nothing is public; and no names that say nothing.
    @Test("sources have no actors, no async, no public access and no vague type names") func accessAndNames() throws {
        var findings: [String] = []
        for file in try Self.sources.get() {
            for (index, token) in file.tokens.enumerated() {
                let isDeclared = index == 0 || file.tokens[index - 1].text != "."
                if ["actor", "async", "await"].contains(token.text), isDeclared {
                    findings.append(
                        "\(file.path):\(token.line): '\(token.text)': everything here lives on the event loop")
                }
                if ["public", "open"].contains(token.text), isDeclared, index + 1 < file.tokens.count,
                    ["class", "struct", "enum", "func", "var", "let", "init", "final", "static"].contains(
                        file.tokens[index + 1].text)
                {
                    findings.append("\(file.path):\(token.line): '\(token.text)': 'package' is the widest access here")
                }
            }
            for declaration in file.declarations {
                if ["Manager", "Helper", "Util", "Utils"].contains(where: { declaration.name.hasSuffix($0) }) {
                    findings.append("\(file.path):1: \(declaration.name): say what it does")
                }
            }
        }
        expectNone(findings)
    }

    @Test("source files are within the length limit and begin with a comment") func sourceFiles() throws {
        var findings: [String] = []
        for file in try Self.sources.get() {
            if file.lines.count > Self.maximumSourceLines + 1 {
                findings.append("\(file.path):\(file.lines.count): longer than \(Self.maximumSourceLines) lines")
            }
            if file.lines.first?.hasPrefix("// ") != true {
                findings.append("\(file.path):1: does not open with a comment on what lives here")
            }
        }
        expectNone(findings)
    }

    @Test("text files have no tabs, no trailing spaces and no long lines") func whitespaceAndColumns() throws {
        var findings: [String] = []
        for path in SourceTree.paths(under: SourceTree.writtenFolders)
            + SourceTree.topFiles
        {
            for (number, line) in try SourceTree.text(path).split(separator: "\n", omittingEmptySubsequences: false)
                .enumerated()
            {
                if line.hasSuffix(" ") { findings.append("\(path):\(number + 1): ends in a space") }
                // make's recipes begin with one.
                if line.contains("\t"), !path.hasSuffix("/debian/rules") {
                    findings.append("\(path):\(number + 1): has a tab")
                }
                if path.hasSuffix(".swift"), line.count > Self.maximumColumns {
                    findings.append("\(path):\(number + 1): longer than \(Self.maximumColumns) columns")
                }
            }
        }
        expectNone(findings)
    }

    /// Paths of one machine say nothing on another.
    @Test("text files name no absolute paths of one machine") func machinePaths() throws {
        // Put together here, so that this file does not find itself.
        let places = ["work", "root", "home"].map { "/\($0)/" }
        var findings: [String] = []
        for path in SourceTree.paths(under: SourceTree.writtenFolders)
            + SourceTree.topFiles
        {
            for (number, line) in try SourceTree.text(path).split(separator: "\n", omittingEmptySubsequences: false)
                .enumerated()
            {
                for place in places {
                    guard let range = line.range(of: place) else { continue }
                    let before = line[..<range.lowerBound].last
                    if before.map({ $0.isLetter || $0.isNumber || ".-_$}".contains($0) }) != true {
                        findings.append("\(path):\(number + 1): a path of one machine, \(place)…")
                    }
                }
            }
        }
        expectNone(findings)
    }

    private func expectNone(_ findings: [String], sourceLocation: SourceLocation = #_sourceLocation) {
        if !findings.isEmpty { Issue.record("\n\(findings.joined(separator: "\n"))", sourceLocation: sourceLocation) }
    }
}
