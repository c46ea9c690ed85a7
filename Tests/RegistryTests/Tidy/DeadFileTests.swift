// Code that nothing uses is read by everyone for nothing.

import Testing

@Suite struct DeadFileTests {
    /// Doors of floors that were built before the sub-commands that will come in by them. Whoever comes in by one
    /// takes it off this list; the test asks for that.
    private static let waiting: Set<String> = []

    /// Every file declares something that another file of the program uses.
    @Test func noFileIsDead() throws {
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
        for path in Self.waiting.subtracting(findings.map(\.path)) {
            Issue.record("\(path):1: is in use now, and has no place in the list of what waits")
        }
        let dead = findings.filter { !Self.waiting.contains($0.path) }
        let text = dead.map { "\n\($0.path):1: nothing in the program uses what this file declares" }.joined()
        if !dead.isEmpty { Issue.record("\(text)") }
    }
}
