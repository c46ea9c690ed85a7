// The source tree, as input for the lint rules.

internal import Foundation
internal import Registry

/// One Swift file.
package struct SourceFile {
    /// Relative to the checkout, for example `Sources/OCI/Digest.swift`.
    package let path: String
    package let lines: [Substring]
    package let tokens: [SwiftToken]
    package let commentLines: Set<Int>
    package let declarations: [Declaration]

    /// The folder under `Sources/Registry`; nil for a file elsewhere.
    package var layer: String? {
        let parts = path.split(separator: "/")
        return parts.count > 3 && parts[1] == "Registry" ? String(parts[2]) : nil
    }

    package init(path: String, text: String) {
        self.path = path
        lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let lexer = SwiftLexer(text)
        tokens = lexer.tokens
        commentLines = lexer.commentLines
        declarations = Declaration.all(in: tokens)
    }
}

/// A name that a file declares.
package struct Declaration {
    package let name: String
    /// 0 at the top level of the file, 1 inside a type or extension there, and so on.
    package let depth: Int
    /// Whether it is `private` or `fileprivate`, and so invisible to other files.
    package let isPrivate: Bool

    private static let keywords: Set<String> = [
        "class", "struct", "enum", "protocol", "actor", "typealias", "associatedtype", "func", "let", "var", "case",
        "init",
    ]

    /// All declarations, recognised by keywords: `class Name`. (`class func`, `case .pattern` and similar declare no
    /// name.)
    package static func all(in tokens: [SwiftToken]) -> [Declaration] {
        var found: [Declaration] = []
        var depth = 0
        for (index, token) in tokens.enumerated() {
            if token.text == "{" { depth += 1 }
            if token.text == "}" { depth -= 1 }
            guard keywords.contains(token.text), index + 1 < tokens.count, tokens[index + 1].isName,
                !keywords.contains(tokens[index + 1].text)
            else { continue }
            // A generic parameter is also a name that belongs to the file.
            for parameter in genericParameters(in: tokens, after: index + 1) {
                found.append(Declaration(name: parameter, depth: depth + 1, isPrivate: true))
            }
            let modifiers = tokens[..<index].reversed().prefix {
                $0.line == token.line && $0.text != "{" && $0.text != "}"
            }
            let isPrivate = modifiers.contains { $0.text == "private" || $0.text == "fileprivate" }
            found.append(Declaration(name: tokens[index + 1].text, depth: depth, isPrivate: isPrivate))
        }
        return found
    }
}

extension Declaration {
    /// The names declared between `<` and `>` after a declared name: `Key` and `Value` in `<Key: Hashable, Value>`.
    private static func genericParameters(in tokens: [SwiftToken], after index: Int) -> [String] {
        guard index + 1 < tokens.count, tokens[index + 1].text == "<" else { return [] }
        var depth = 1
        var names: [String] = []
        for position in (index + 2)..<tokens.count where depth > 0 {
            if depth == 1, tokens[position].isName, ["<", ","].contains(tokens[position - 1].text) {
                names.append(tokens[position].text)
            }
            if tokens[position].text == "<" { depth += 1 }
            if tokens[position].text == ">" { depth -= 1 }
        }
        return names
    }
}

package enum SourceTree {
    /// Every hand-written file of the checkout, relative to it: build products, caches and pictures are left out.
    package static func paths(under folders: [String], suffix: String = "") -> [String] {
        folders.flatMap { folder -> [String] in
            let inside =
                FileManager.default.enumerator(atPath: "\(Checkout.root)/\(folder)")?.compactMap { $0 as? String } ?? []
            return inside.map { "\(folder)/\($0)" }
        }
        .filter { path in
            var isDirectory: ObjCBool = false
            let exists = FileManager.default.fileExists(atPath: "\(Checkout.root)/\(path)", isDirectory: &isDirectory)
            // Inputs of the fuzzer may be any bytes.
            let isMade = path.hasSuffix(".png") || path.hasSuffix(".pyc") || path.hasPrefix("Tests/Corpus/")
            return exists && !isDirectory.boolValue && path.hasSuffix(suffix) && !isMade
        }
        .sorted()
    }

    package static func swiftFiles(under folder: String) throws -> [SourceFile] {
        try paths(under: [folder], suffix: ".swift").map { SourceFile(path: $0, text: try text($0)) }
    }

    /// Folders with hand-written files; `topFiles` are those at the top of the checkout.
    package static let writtenFolders = [
        "Sources", "Tests", "scripts", "docs", "observability", "findings", "packaging", ".ci",
    ]
    package static let topFiles = ["Package.swift", "README.md", "CHANGELOG.md", ".gitignore", ".swift-format"]

    package static func text(_ path: String) throws -> String {
        try String(contentsOfFile: "\(Checkout.root)/\(path)", encoding: .utf8)
    }
}
