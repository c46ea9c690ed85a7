// scripts/load-test from end to end, small: a real registry, this server, the driver, a plot. What is asserted are
// counts; how fast anything is depends on the machine.

import Foundation
import TestSupport
import Testing

@testable import LoadTest

@Suite struct LoadTestTests {
    private static let script = "\(Checkout.root)/scripts/load-test"
    private static let directory = URL(fileURLWithPath: Checkout.server).deletingLastPathComponent().path
    private static let document = "docs/load-testing.md"

    /// The CSV as a dictionary a row.
    private static func rows(_ path: String) throws -> [[String: Double]] {
        let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
        let names = try #require(lines.first).split(separator: ",").map(String.init)
        return try lines.dropFirst().map { line in
            let cells = line.split(separator: ",", omittingEmptySubsequences: false).map { Double($0) }
            try #require(cells.count == names.count)
            return Dictionary(
                uniqueKeysWithValues: zip(names, cells).compactMap { name, cell in cell.map { (name, $0) } })
        }
    }

    private static func run(_ files: TemporaryDirectory, _ arguments: [String]) throws -> Command.Result {
        try Command.run(
            [
                script, "--bin", directory, "--output", files.path, "--images", "20", "--pullers", "4",
                "--step-seconds", "0.5", "--hash-every", "2",
            ] + arguments)
    }

    @Test(
        "a small load test has no errors, and its figures agree with each other",
        .needs(.python3, .gnuplot, .dockerRegistry), arguments: [(["--index"], 8), (["--prune"], 7)])
    func smallRun(_ arguments: [String], _ requestsPerImage: Double) throws {
        let files = try TemporaryDirectory()
        let result = try Self.run(files, arguments)
        try #require(result.status == 0, "\(result)")
        let rows = try Self.rows(files.file("load-test.csv"))
        func sum(_ column: String) -> Double { rows.reduce(0) { $0 + ($1[column] ?? 0) } }
        #expect(rows.map { $0["pullers"] } == [1, 2, 4, 2, 1] && rows.map { $0["step"] } == [1, 2, 3, 4, 5])
        #expect(sum("images") > 0 && sum("errors") == 0 && sum("hashed") > 0)
        #expect(sum("hashed") <= sum("images") / 2 + 2)
        // Pulls that a row's end cut in two count where they end; those after the last row nowhere.
        #expect(abs(sum("requests") - requestsPerImage * sum("images")) <= requestsPerImage * 4)
        #expect(rows.allSatisfy { $0["server_cpu_percent"] != nil && $0["upstream_cpu_percent"] != nil })
        #expect(result.text.contains("\(Int(sum("images"))) images, \(Int(sum("requests"))) requests, "))
        let picture = try Data(contentsOf: URL(fileURLWithPath: files.file("load-test.png")))
        #expect(picture.starts(with: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]))
    }

    /// The site closes its connection after each answer, which is no fault: the next request makes another.
    @Test("the load test counts wrong statuses, lengths and hashes, and reports each path") func errors() throws {
        let files = try TemporaryDirectory()
        let site = try ScriptedSite([
            "/right": [.init(body: Array("ok".utf8))], "/wrong": [.init(body: Array("no".utf8))],
            "/short": [.init(body: Array("o".utf8))],
        ])
        // printf ok | sha256sum
        let digest = "sha256:2689367b205c16ce32ed4200942b8b8b1e262dfc70d9bc9fbc77c49699a4f1df"
        let images = [["right", "right"], ["right", "wrong"], ["missing", "right"], ["right", "short", "right"]]
        let lines = images.map { paths in "batch" + paths.map { " /\($0) 2 \(digest)" }.joined() }
        let result = try Self.drive(site.address, files.write(lines.joined(separator: "\n"), to: "catalog"))
        #expect(result.status == 1)
        #expect(result.text.contains("errors: 3 (1 status, 1 length, 1 hash)"), "\(result)")
        for note in [
            "/wrong: does not hash to \(digest)", "/missing: status 404", "/short: 1 bytes, not 2",
        ] { #expect(result.text.contains("error: \(note)"), "\(result)") }
    }

    @Test("an unreachable server and a failed prune are errors of the load test") func missingServer() throws {
        let files = try TemporaryDirectory()
        let digest = "sha256:" + String(repeating: "0a", count: 32)
        let catalog = try files.write("batch /path 2 \(digest)\n", to: "catalog")
        let away = try Self.drive("127.0.0.1:\(LoopbackPort.free())", catalog)
        #expect(away.status == 1 && away.text.contains("errors: 1 (1 broken)"), "\(away)")
        let site = try ScriptedSite([:])
        let unpruned = try Self.drive(site.address, catalog, ["--prune"])
        #expect(unpruned.status == 1 && unpruned.text.contains("error: cannot prune: status 404"), "\(unpruned)")
    }

    private static func drive(
        _ address: String, _ catalog: String, _ arguments: [String] = []
    ) throws -> Command.Result {
        try Command.run(
            [
                "\(directory)/ociregistry-load", "--server", "http://\(address)", "--catalog", catalog, "--pullers",
                "1",
                "--step-seconds", "0.1",
            ] + arguments)
    }

    @Test("the load test's options, columns and pictures are documented", .needs(.python3))
    func documentation() throws {
        let text = try SourceTree.text(Self.document)
        let help = String(decoding: try Command.check([Self.script, "--help"]), as: UTF8.self)
        let options = Set(help.matches(of: /--[a-z-]+/).map { String($0.output) }).subtracting(["--help"])
        #expect(options.isSuperset(of: ["--images", "--pullers", "--step-seconds", "--prune", "--hash-every"]))
        for option in options { #expect(text.contains("| `\(option)"), "\(Self.document) says nothing of \(option)") }
        for name in Column.head.split(separator: ",") {
            #expect(text.contains("| `\(name)` |"), "\(Self.document) says nothing of the column \(name)")
        }
        for picture in try FileManager.default.contentsOfDirectory(atPath: "\(Checkout.root)/docs/assets")
        where picture.hasPrefix("load-test") {
            #expect(text.contains("assets/\(picture)"), "\(picture) is shown nowhere")
        }
    }

    @Test(
        "the load test refuses wrong options with status 2 and the reason",
        .needs(.python3, .gnuplot, .dockerRegistry),
        arguments: [
            (["--images", "3"], "--images: must be at least 4"), (["--layer-bytes", "2049"], "in steps of 512"),
            (["--prune", "--images", "20", "--pullers", "11"], "11 pullers need at least 22 images"),
            (["--server", "http://127.0.0.1:1"], "--server: needs --registry"), (["--pid", "1"], "go with --server"),
            (["--admin", "http://127.0.0.1:1"], "go with --server"),
        ])
    func wrongOptions(_ arguments: [String], _ message: String) throws {
        let result = try Command.run([Self.script, "--bin", "/nowhere"] + arguments)
        #expect(result.status == 2 && result.errors.contains(message), "\(result)")
    }
}
