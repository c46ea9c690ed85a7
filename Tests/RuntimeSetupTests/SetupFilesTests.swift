// What holds for every runtime: diffs, backups, modes, links, and random files of somebody else.

import Glibc
import TestSupport
import Testing

@testable import Configuration
@testable import RuntimeSetup

@Suite struct SetupFilesTests {
    private static func diff(_ before: String?, _ after: String?) -> String {
        UnifiedDiff.text("/f", from: before.map { Array($0.utf8) }, to: after.map { Array($0.utf8) })
    }

    @Test("a diff is that of diff -u") func diffs() {
        #expect(Self.diff(nil, "a\n") == "--- /dev/null\n+++ /f\n@@ -0,0 +1,1 @@\n+a\n")
        #expect(Self.diff("a", nil) == "--- /f\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a\n\\ No newline at end of file\n")
        let lines = (1...20).map { "\($0)\n" }
        var changed = lines
        changed[2] = "three\n"
        changed.insert("x\n", at: 15)
        #expect(
            Self.diff(lines.joined(), changed.joined()) == """
                --- /f
                +++ /f
                @@ -1,6 +1,6 @@
                 1
                 2
                -3
                +three
                 4
                 5
                 6
                @@ -13,6 +13,7 @@
                 13
                 14
                 15
                +x
                 16
                 17
                 18

                """)
    }

    @Test("a file that is another one altogether is one change") func largeDiff() {
        let before = (0..<50_000).map { "\($0)\n" }
        let after = before.map { "x" + $0 }
        #expect(Self.diff(before.joined(), after.joined()).hasPrefix("--- /f\n+++ /f\n@@ -1,50000 +1,50000 @@\n-0\n"))
    }

    @Test("deeply nested files are refused, and do not end the process") func depth() throws {
        let deep = String(repeating: "[", count: 100_000)
        #expect(try Node(["etc/docker/daemon.json": "{\"a\":" + deep]).refusal(.docker) != nil)
        let closed = deep.prefix(500) + String(repeating: "]", count: 500)
        #expect(try Node(["etc/docker/daemon.json": "{\"a\":\(closed)}"]).refusal(.docker) == nil)
        #expect(try Node(["etc/rancher/k3s/registries.yaml": "a: " + deep]).refusal(.k3s) != nil)
    }

    /// `patch` and `diff` are not needed: applying the diff by hand shows that its lines and numbers are right.
    @Test("a diff leads from the old text to the new one") func appliedDiffs() throws {
        var random = SeededRandom(seed: .random(in: 0 ... .max))
        let words = ["a\n", "b\n", "c\n"]
        for _ in 0..<300 {
            let before = (0..<Int.random(in: 0...30, using: &random)).map { _ in
                words.randomElement(using: &random) ?? ""
            }
            var after = before
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let at = Int.random(in: 0...after.count, using: &random)
                if at < after.count, Bool.random(using: &random) {
                    after.remove(at: at)
                } else {
                    after.insert("d\n", at: at)
                }
            }
            let diff = Self.diff(before.joined(), after.joined())
            #expect(Self.patched(before, diff) == after, "seed \(random.seed)\n\(diff)")
        }
    }

    private static func patched(_ lines: [String], _ diff: String) -> [String] {
        var result: [String] = []
        var at = 0
        for line in diff.split(separator: "\n", omittingEmptySubsequences: true).dropFirst(2) {
            let rest = line.dropFirst() + "\n"
            switch line.first {
            case "@":
                let numbers = line.split(separator: " ")[1].dropFirst().split(separator: ",").compactMap { Int($0) }
                let start = numbers[1] == 0 ? numbers[0] : numbers[0] - 1
                result += lines[at..<start]
                at = start
            case "+": result.append(String(rest))
            case "-":
                guard lines[at] == rest else { return ["wrong"] }
                at += 1
            default:
                guard lines[at] == rest else { return ["wrong"] }
                result.append(String(rest))
                at += 1
            }
        }
        return result + lines[at...]
    }

    @Test("mode and owner of a file stay, and no temporary file is left") func mode() throws {
        let node = try Node(["etc/docker/daemon.json": "{}"])
        #expect(chmod(node.files.file("etc/docker/daemon.json"), 0o600) == 0)
        try node.setUp(.docker)
        for name in ["daemon.json", "daemon.json.ociregistry-backup"] {
            var status = stat()
            #expect(stat(node.files.file("etc/docker/\(name)"), &status) == 0 && status.st_mode & 0o777 == 0o600)
        }
        #expect(try node.contents().keys.allSatisfy { !$0.contains(".ociregistry-\(getpid())") })
    }

    @Test("a plan alone changes nothing") func dryRun() throws {
        let node = try Node(["etc/docker/daemon.json": "{}"])
        let plan = try SetupPlan(SetupRequest(runtime: .docker, mirror: MirrorURL("http://m"), root: node.root))
        #expect(plan.diff.contains("+  \"registry-mirrors\": [\"http://m\"]\n"))
        #expect(try node.contents() == ["etc/docker/daemon.json": "{}"])
    }

    @Test("the backup is of the first state, whatever is set up later") func backup() throws {
        let node = try Node(["etc/docker/daemon.json": "{}"])
        try node.setUp(.docker, "http://a")
        try node.setUp(.docker, "http://b")
        #expect(try node.content("etc/docker/daemon.json.ociregistry-backup") == "{}")
    }

    @Test("a symbolic link below another root is refused, before anything is written", arguments: Runtime.allCases)
    func links(_ runtime: Runtime) throws {
        let node = try Node()
        let elsewhere = try TemporaryDirectory()
        #expect(symlink(elsewhere.path, node.files.file("etc")) == 0)
        #expect(try node.refusal(runtime)?.hasPrefix("/etc: a symbolic link") == true)
        #expect(throws: Refusal.self) { try node.setUp(runtime, hostsOnly: true) }
    }

    @Test("a root that is not there is refused") func missingRoot() throws {
        let request = SetupRequest(runtime: .k3s, mirror: try MirrorURL("http://m"), root: "/nonexistent")
        #expect(throws: Refusal("/nonexistent: no such directory")) { try SetupPlan(request) }
    }

    // MARK: Random files of somebody else

    @Test("random TOML is the same after setup and removal") func randomTOML() throws {
        var random = SeededRandom(seed: .random(in: 0 ... .max))
        for _ in 0..<60 {
            let config = Self.toml(
                &random, headers: ["debug", "plugins", "plugins.'io.containerd.grpc.v1.cri'", "plugins.x.registry"])
            let hosts = Self.toml(&random, headers: ["host.'http://a'", "host.'http://b'.header", "header"])
            let node = try Node([
                "etc/containerd/config.toml": "version = 2\n" + config,
                "etc/containerd/certs.d/_default/hosts.toml": hosts,
            ])
            try Self.check(node, .containerd, "seed \(random.seed)\n\(config)\n\(hosts)")
        }
    }

    @Test("random JSON is the same after setup and removal") func randomJSON() throws {
        var random = SeededRandom(seed: .random(in: 0 ... .max))
        for _ in 0..<60 {
            let text = Self.json(&random, depth: 0)
            let node = try Node(["etc/docker/daemon.json": text])
            try Self.check(node, .docker, "seed \(random.seed)\n\(text)")
        }
    }

    @Test("random YAML is the same after setup and removal") func randomYAML() throws {
        var random = SeededRandom(seed: .random(in: 0 ... .max))
        for _ in 0..<60 {
            let text = Self.yaml(&random)
            let node = try Node(["etc/rancher/k3s/registries.yaml": text])
            try Self.check(node, .k3s, "seed \(random.seed)\n\(text)")
        }
    }

    /// That the rest is read as before is checked by `setup` itself, which refuses what it would change.
    private static func check(_ node: Node, _ runtime: Runtime, _ note: String) throws {
        let before = try node.contents()
        #expect(throws: Never.self, "\(note)") { try node.setUp(runtime) }
        #expect(node.examine(runtime).contains { $0.mirrors.first == Node.mirrorURL }, "\(note)")
        #expect(try node.setUp(runtime).isEmpty, "\(note)")
        try node.remove(runtime)
        #expect(try node.contents() == before, "\(note)")
    }

    private static let blanks = ["", " ", "  ", "\t", "\n", "\n\n", "# comment\n", "  # [x]\n"]
    private static let tomlValues = [
        "1", "true", "'a'", "\"\\\"]\"", "[1, [2], {b = '#'}]", "1979-05-27", "\"\"\"\n# begin\n[x]\"\"\"", "{}",
    ]

    private static func toml(_ random: inout SeededRandom, headers: [String]) -> String {
        var text = ""
        var count = 0
        func pairs(_ random: inout SeededRandom) {
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                count += 1
                text += blanks.randomElement(using: &random) ?? ""
                let dotted = Bool.random(using: &random) ? ".'d d'" : ""
                text += "k\(count)\(dotted) = \(tomlValues.randomElement(using: &random) ?? "1")"
                text += [" # c\n", "\n", "\r\n"].randomElement(using: &random) ?? "\n"
            }
        }
        pairs(&random)
        for header in headers.shuffled(using: &random) where Bool.random(using: &random) {
            text += "\(blanks.randomElement(using: &random) ?? "")[\(header)]\n"
            pairs(&random)
        }
        if Bool.random(using: &random), text.hasSuffix("\n"), !text.hasSuffix("\r\n") { text.removeLast() }
        return text
    }

    private static func json(_ random: inout SeededRandom, depth: Int) -> String {
        let space = { (random: inout SeededRandom) in ["", " ", "\n\t", "\r\n"].randomElement(using: &random) ?? "" }
        var members: [String] = []
        for index in 0..<Int.random(in: 0...4, using: &random) {
            let scalars = ["1", "-1.5e3", "true", "null", "\"]}\\\"\"", "[1, {\"a\": []}]"]
            let isNested = depth < 3 && Bool.random(using: &random)
            let value = isNested ? json(&random, depth: depth + 1) : scalars.randomElement(using: &random) ?? "1"
            members.append("\(space(&random))\"k\(index)\"\(space(&random)):\(space(&random))\(value)\(space(&random))")
        }
        if depth == 0, Bool.random(using: &random) {
            let list =
                ["[]", "[ ]", "[\"http://a\"]", "[\n\"http://a\" , \"http://b\"]"].randomElement(using: &random) ?? "[]"
            members.insert("\"registry-mirrors\" : \(list)", at: Int.random(in: 0...members.count, using: &random))
        }
        return "{" + members.joined(separator: ",") + space(&random) + "}"
    }

    private static func yaml(_ random: inout SeededRandom) -> String {
        var sections: [String] = []
        let indent = String(repeating: " ", count: Int.random(in: 1...4, using: &random))
        if Bool.random(using: &random) {
            let names = ["docker.io", "\"quay.io\"", "'a:1'"].shuffled(using: &random)
            let entries = names.prefix(Int.random(in: 1...3, using: &random)).map {
                "\(indent)\($0):\n\(indent)  endpoint: [\"https://a\"]\n"
            }
            sections.append("mirrors:\n" + entries.joined())
        }
        if Bool.random(using: &random) { sections.append("configs:\n\(indent)a:\n\(indent)  auth: {username: '#'}\n") }
        if Bool.random(using: &random) { sections.append("other: |\n  text\n  # no comment\n") }
        let comment = ["", "# comment\n", "\n"].randomElement(using: &random) ?? ""
        var text = comment + sections.shuffled(using: &random).joined(separator: comment)
        // Without its newline, a literal text would be another one once something follows it.
        if Bool.random(using: &random), text.hasSuffix("\n"), !text.hasSuffix("# no comment\n") { text.removeLast() }
        return text
    }
}
