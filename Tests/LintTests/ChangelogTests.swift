// The version stands in one place. What else states it is compared with it, or made from it.

import Foundation
import TestSupport
import Testing

@Suite(.needs(.python3)) struct ChangelogTests {
    private static let changelog = "\(Checkout.root)/CHANGELOG.md"

    /// `Version.text`, as scripts/package reads it.
    private static let version = Result {
        let text = try SourceTree.text("Sources/App/Commands/Version.swift")
        let line = try #require(text.split(separator: "\n").first { $0.contains("static let text = ") })
        return String(try #require(line.split(separator: "\"").last))
    }

    private func debian(version: String, changelog: String = changelog) throws -> Command.Result {
        try Command.run([
            "python3", "\(Checkout.root)/packaging/changelog.py", changelog, version, "Name <name@host.example>",
            "+deb12", "bookworm",
        ])
    }

    @Test("the newest version of CHANGELOG.md is the program's, and so is Debian's") func sameVersion() throws {
        let version = try Self.version.get()
        let result = try debian(version: version)
        #expect(result.status == 0, "\(result)")
        let lines = result.text.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.first == "ociregistry (\(version)+deb12) bookworm; urgency=medium")
        // The form of deb-changelog(5): a date as in RFC 5322, and nothing wider than a terminal.
        let signed = try #require(lines.first { $0.hasPrefix(" -- ") })
        #expect(signed.contains("Name <name@host.example>  ") && signed.hasSuffix(" 00:00:00 +0000"))
        #expect(lines.allSatisfy { $0.count <= 80 })
        #expect(lines.contains { $0.hasPrefix("  * ") })
    }

    @Test("a version that CHANGELOG.md does not have makes no package") func otherVersion() throws {
        let result = try debian(version: "999.0.0")
        #expect(result.status == 1 && result.errors.contains("the program's is 999.0.0"), "\(result)")
    }

    @Test("changes that are not released yet, and headings, are not in Debian's changelog") func unreleased() throws {
        let files = try TemporaryDirectory()
        let text = """
            # Changelog
            Words.

            ## [Unreleased]
            - later

            ## [2.0.0] - 2026-12-31
            ### Changed
            - one thing,
              on two lines
            - `another` [thing](place.md)

            ## [1.0.0] - 2026-01-01
            - the first
            """
        let result = try debian(version: "2.0.0", changelog: try files.write(text, to: "CHANGELOG.md"))
        #expect(
            result.text == """
                ociregistry (2.0.0+deb12) bookworm; urgency=medium

                  * one thing, on two lines
                  * another thing

                 -- Name <name@host.example>  Thu, 31 Dec 2026 00:00:00 +0000

                ociregistry (1.0.0+deb12) bookworm; urgency=medium

                  * the first

                 -- Name <name@host.example>  Thu, 01 Jan 2026 00:00:00 +0000

                """)
    }
}
