// The command lines of `list` and `prune`.

import ArgumentParser
import Registry
import TestSupport
import Testing

@testable import App
@testable import Configuration

@Suite struct AdminCommandLineTests {
    private func prune(_ arguments: [String]) throws -> Prune {
        try #require(try OCIRegistry.parseAsRoot(["prune"] + arguments) as? Prune)
    }

    @Test("list accepts --header, --pattern, --short-digest and --json") func listFlags() throws {
        let all = ["--image-path", "/i", "list", "--header", "--pattern", "a,b", "--short-digest", "--json"]
        let list = try #require(try OCIRegistry.parseAsRoot(all) as? List)
        #expect(list.header && list.shortDigest && list.json && list.pattern == "a,b")
        #expect(list.global.imagePath == "/i")
        let none = try #require(try OCIRegistry.parseAsRoot(["list"]) as? List)
        #expect(!none.header && !none.shortDigest && !none.json && none.pattern == nil)
    }

    @Test("prune selects by --pattern, --unused-for or --date") func pruneSelections() throws {
        #expect(try prune(["--pattern", "x", "--dry-run"]).selection == .pattern("x"))
        #expect(try prune(["--pattern", "x", "--dry-run"]).dryRun)
        #expect(try prune(["--unused-for", "30d"]).selection == .accessed(Age("30d")))
        let date = try prune(["--date", "2024-03-01T22:17:31"])
        #expect(date.selection == LocalTime.seconds("2024-03-01T22:17:31").map { .createdBefore(seconds: $0) })
        #expect(!date.dryRun && !date.json && !date.force)
        #expect(try prune(["--pattern", "x", "--force"]).force)
    }

    @Test(
        "prune without exactly one valid selection ends with status 64 and the reason",
        arguments: [
            ([], "exactly one of"), (["--dry-run"], "exactly one of"),
            (["--pattern", "x", "--unused-for", "1d"], "exactly one of"),
            (["--date", "2024-03-01T22:17:31", "--unused-for", "1d"], "exactly one of"),
            (["--pattern", ""], "--pattern"), (["--date", "2024-03-01"], "--date"),
            (["--date", "yesterday"], "--date"),
            (["--unused-for", "30"], "--unused-for"), (["--unused-for", "0d"], "--unused-for"),
            (["--pattern", "x", "everything"], "everything"),
        ] as [([String], String)])
    func pruneRefusals(_ arguments: [String], _ word: String) throws {
        let refusal = try #require(parseRefusal(["prune"] + arguments))
        #expect(refusal.status == 64 && refusal.message.contains(word), "\(refusal.message)")
    }

    @Test("--admin-listen takes an address and a port") func adminListen() throws {
        let serve = try #require(
            try OCIRegistry.parseAsRoot(["serve", "--admin-listen", "[::1]:9000"]) as? Serve)
        var config = Config()
        serve.options.apply(to: &config)
        #expect(config.adminListen == ListenPoint(host: "::1", port: 9000))
        #expect(parseRefusal(["serve", "--admin-listen", "example.com:1"])?.message.contains("--admin-listen") == true)
    }
}
