// What packages bring beside the program: manual pages and completions, made from its own description of its options,
// and the scripts that make the packages. The packages themselves are tested by `scripts/soak packages`.

import Foundation
import TestSupport
import Testing

@Suite struct PackagingTests {
    private static let folder = "\(Checkout.root)/packaging"

    /// The sub-commands that the help lists.
    private static let commands = Result {
        let help = String(decoding: try Command.check([Checkout.server, "--help"]), as: UTF8.self)
        let lines = help.split(separator: "\n", omittingEmptySubsequences: false)
        let list = lines.drop { !$0.hasPrefix("SUBCOMMANDS:") }.dropFirst().prefix { !$0.isEmpty }
        return list.filter { !$0.hasPrefix("   ") }.compactMap { $0.split(separator: " ").first.map(String.init) }
    }

    @Test("there is a manual page for the program, each sub-command and the configuration", .needs(.python3))
    func manual() throws {
        let files = try TemporaryDirectory()
        try Command.check(
            ["python3", "\(Self.folder)/manual.py", Checkout.server, files.path],
            environment: ["SOURCE_DATE_EPOCH": "1796083200"])
        let commands = try Self.commands.get()
        #expect(commands.contains("serve") && commands.contains("reload"))
        let expected = ["ociregistry-config.5", "ociregistry.1"] + commands.map { "ociregistry-\($0).1" }
        let pages = try FileManager.default.contentsOfDirectory(atPath: files.path)
        #expect(Set(expected).subtracting(pages).isEmpty, "\(pages)")
        for page in pages where !expected.contains(page) {
            // A sub-command's own sub-commands.
            #expect(commands.contains { page.hasPrefix("ociregistry-\($0)-") }, "\(page)")
        }
        for command in commands {
            let page = try String(contentsOfFile: files.file("ociregistry-\(command).1"), encoding: .utf8)
            #expect(page.contains(".TH OCIREGISTRY") && page.contains(" 2026-12-01 "), "\(page)")
            let help = String(decoding: try Command.check([Checkout.server, command, "--help"]), as: UTF8.self)
            let options = help.split { " \n,/".contains($0) }.filter { $0.hasPrefix("--") }
            for option in Set(options) {
                let escaped = option.prefix { !".<[)".contains($0) }.replacingOccurrences(of: "-", with: "\\-")
                #expect(page.contains("\\fB\(escaped)\\fP") || page.contains(escaped), "\(command): no \(option)")
            }
        }
        let configuration = try String(contentsOfFile: files.file("ociregistry-config.5"), encoding: .utf8)
        #expect(configuration.contains("\n.TP\n\\fBmaxBytes\\fP\n") && !configuration.contains("|---"))
    }

    @Test("completions of bash, zsh and fish list every sub-command") func completions() throws {
        let files = try TemporaryDirectory()
        try Command.check(["\(Self.folder)/completions", Checkout.server, files.path])
        let commands = try Self.commands.get()
        for name in ["_ociregistry", "ociregistry.fish"] {
            let text = try String(contentsOfFile: files.file(name), encoding: .utf8)
            for command in commands { #expect(text.contains("'\(command)"), "\(name): no \(command)") }
        }
        let script = """
            source "$0"
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE} COMPREPLY=()
            _ociregistry "$1" "${*: -1}" ""
            printf '%s\\n' "${COMPREPLY[@]}"
            """
        let bash = ["bash", "--norc", "-c", script, files.file("ociregistry"), "ociregistry"]
        let first = String(decoding: try Command.check(bash + [""]), as: UTF8.self).split(separator: "\n")
        #expect(Set(commands).isSubset(of: first.map(String.init)), "\(first)")
        #expect(try Command.check(bash + ["prune", "--dr"]) == Array("--dry-run\n".utf8))
    }

    @Test("shellcheck accepts the scripts of packages and releases", .needs(.shellcheck)) func scripts() throws {
        let scripts = [
            "packaging/build-program", "packaging/completions", "scripts/package", "scripts/package.d/deb.sh",
            "scripts/namespaces.sh", "scripts/release", "scripts/soak.d/packages.sh", "scripts/soak.d/systemd.sh",
        ]
        let sourced = [
            "packaging/debian/ociregistry.postrm", "packaging/debian/ociregistry.prerm",
            "scripts/soak.d/packages_checks.sh",
        ]
        let result = try Command.run(
            ["shellcheck", "--external-sources", "--source-path=\(Checkout.root)"]
                + (scripts + sourced).map { "\(Checkout.root)/\($0)" })
        #expect(result.status == 0, "\(result)")
        for script in scripts {
            #expect(FileManager.default.isExecutableFile(atPath: "\(Checkout.root)/\(script)"), "\(script)")
        }
    }

    @Test("an unknown kind of package is refused, and the known ones are named") func unknownKind() throws {
        for kind in [[], ["rpm"], ["../deb"]] {
            let result = try Command.run(["\(Checkout.root)/scripts/package"] + kind)
            #expect(result.status == 64 && result.errors.contains("these are: deb "), "\(result)")
        }
        let release = try Command.run(["\(Checkout.root)/scripts/package.d/deb.sh", "potato"])
        #expect(release.status == 1, "\(release)")
    }
}
