// scripts/bench, in a form so small that it measures nothing: that it starts every server, asks all of them, and writes
// what docs/performance.md says it writes. How fast anything was is not looked at.

import Foundation
import TestSupport
import Testing

@Suite struct BenchTests {
    private static let script = "\(Checkout.root)/scripts/bench"

    /// The options that a text names.
    private static func options(in text: String) -> Set<String> {
        let words = text.split(whereSeparator: { !($0.isLetter || $0 == "-") }).map { String($0) }
        return Set(words.filter { $0.hasPrefix("--") && $0.count > 2 })
    }

    @Test("docs/performance.md lists the benchmark's options", .needs(.python3)) func documentedOptions() throws {
        let told = Self.options(in: String(decoding: try Command.check([Self.script, "--help"]), as: UTF8.self))
        let document = try SourceTree.text("docs/performance.md")
        let table = document.split(separator: "\n").filter { $0.hasPrefix("| `--") }
        let named = Self.options(in: table.joined(separator: "\n"))
        #expect(named == told.subtracting(["--help"]))
    }

    @Test(
        "the benchmark refuses wrong options with status 2 and its usage",
        .needs(.python3, .nginx, .wrk, .dockerRegistry))
    func wrongOptions() throws {
        for arguments in [["--rounds", "0"], ["--only", "nothing"], ["--server", "a=b"], ["--quik"]] {
            let result = try Command.run([Self.script, "--program", Checkout.server] + arguments)
            #expect(result.status == 2 && result.errors.contains("usage: scripts/bench"), "\(result)")
        }
    }

    /// A row for each of these scenes' figures, positive numbers for each server, and the same table from the file.
    @Test(
        "a small benchmark run measures every server in every selected row",
        .needs(.python3, .nginx, .wrk, .dockerRegistry))
    func smallRun() throws {
        let files = try TemporaryDirectory()
        let file = files.file("results.json")
        let scenes = ["digest", "image", "large", "cold-manifest", "cold-blob", "coalescing"]
        let text = try Command.check(
            [
                Self.script, "--program", Checkout.server, "--json", file, "--images", "2", "--large-mib", "4",
                "--rounds", "1", "--cold-rounds", "1", "--seconds", "1", "--repeats", "0",
            ] + scenes.flatMap { ["--only", $0] }, environment: ["TMPDIR": try files.directory("tmp")])
        let results = try Results(file)
        #expect(
            results.keys == [
                "digest-cpu", "large-seconds", "digest-rate", "digest-p99", "image-cpu", "cold-manifest", "cold-blob",
                "coalescing-gets", "coalescing-first", "coalescing-resident", "coalescing-dirty",
            ])
        for (key, row) in zip(results.keys, results.rows) {
            let medians = try results.medians(row)
            let origin = ["cold-manifest", "cold-blob"].contains(key) ? ["origin"] : []
            #expect(Set(medians.keys) == Set(["nginx", "docker-registry", "ociregistry"] + origin))
            for (server, median) in medians { #expect(median > 0, "\(key) of \(server)") }
            if key == "coalescing-gets" { #expect(medians["ociregistry"] == 1) }
        }
        let again = try Command.check([Self.script, "--from", file])
        #expect(again == text)
        let agreement = String(
            decoding: try Command.check([Self.script, "--from", file, "--from", file]), as: UTF8.self)
        #expect(agreement.contains("run 2") && agreement.contains("all rounds"))
        #expect(agreement.contains("cached manifest by digest: CPU per request, × nginx"))
        #expect(agreement.contains("first byte, ms, more than origin"))
        let left = try FileManager.default.contentsOfDirectory(atPath: files.file("tmp"))
        #expect(left == [])
    }

    /// What --json wrote, as far as it is looked at here.
    private struct Results {
        let rows: [[String: Any]]

        init(_ file: String) throws {
            let data = try Data(contentsOf: URL(fileURLWithPath: file))
            let object = try JSONSerialization.jsonObject(with: data)
            let whole = try #require(object as? [String: Any])
            rows = try #require(whole["rows"] as? [[String: Any]])
        }

        var keys: [String] { rows.compactMap { $0["key"] as? String } }

        func medians(_ row: [String: Any]) throws -> [String: Double] {
            let servers = try #require(row["servers"] as? [String: [String: Any]])
            return servers.compactMapValues { $0["median"] as? Double }
        }
    }
}
