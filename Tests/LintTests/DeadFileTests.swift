// Code that nothing uses is read by everyone for nothing.

import TestSupport
import Testing

@Suite struct DeadFileTests {
    /// Every file declares something that another file of the program uses.
    @Test("every source file declares something that another file uses") func deadFiles() throws {
        let files = try SourceTree.swiftFiles(under: "Sources")
        var users: [String: Set<String>] = [:]
        for file in files {
            for token in file.tokens where token.isName { users[token.text, default: []].insert(file.path) }
        }
        let findings = files.filter { file in
            guard !file.path.hasSuffix("/main.swift"), !file.tokens.contains(where: { $0.text == "main" }) else {
                return false
            }
            let visible = file.declarations.filter { !$0.isPrivate }
            let top = visible.filter { $0.depth == 0 }
            // What a file adds to the types of others is as good as a type of its own.
            let names = (file.tokens.contains { $0.text == "extension" } ? visible : top).map(\.name)
            return !names.contains { users[$0, default: []].contains { $0 != file.path } }
        }
        let text = findings.map { "\n\($0.path):1: nothing in the program uses what this file declares" }.joined()
        if !findings.isEmpty { Issue.record("\(text)") }
    }
}
