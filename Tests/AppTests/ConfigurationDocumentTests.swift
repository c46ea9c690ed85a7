// docs/configuration.md has every key and every flag, and none that does not exist.

import ArgumentParser
import Foundation
import Registry
import TestSupport
import Testing

@testable import App
@testable import Configuration

struct ConfigurationDocumentTests {
    /// A row of one of the document's tables of keys, as its cells.
    private let rows: [[String]]

    init() throws {
        let text = try SourceTree.text("docs/configuration.md")
        let tables = text.components(separatedBy: "\n\n").filter { $0.hasPrefix("| Key |") }
        rows = tables.flatMap { $0.split(separator: "\n") }.filter { $0.hasPrefix("| ") }.map { line in
            line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
        }
    }

    /// What stands between backticks.
    private func words(_ cell: String) -> [String] {
        let parts = cell.split(separator: "`", omittingEmptySubsequences: false)
        return parts.indices.filter { $0 % 2 == 1 }.map { String(parts[$0]) }
    }

    @Test("the configuration document lists every key and no other") func keys() {
        let documented = rows.flatMap { words($0[0]) }
        #expect(Set(documented) == Set(ConfigDecoder.allKeys))
        #expect(documented.count == Set(documented).count)
    }

    @Test("the configuration document lists every command-line option and no other") func flags() {
        let documented = rows.flatMap { words($0[1]) }
        let commands: [any ParsableCommand.Type] = [OCIRegistry.self] + OCIRegistry.configuration.subcommands
        let help = commands.map { command in
            OCIRegistry.helpMessage(for: command, includeHidden: true)
        }
        let flags = help.joined(separator: "\n").matches(of: /--[a-z][a-z-]*/).map { String($0.output) }
        #expect(Set(documented) == Set(flags))
    }

    @Test("documented defaults are the program's defaults") func defaults() {
        let config = Config()
        let defaults = [
            "imagePath": config.imagePath, "logLevel": config.logLevel.rawValue,
            "logFormat": config.logFormat.rawValue, "port": "\(config.port)",
            "host": config.host, "pullTimeout": "\(config.pullTimeoutMilliseconds)", "airGapped": "\(config.airGapped)",
            "alwaysPullLatest": "\(config.alwaysPullLatest)", "helloWorld": "\(config.helloWorld)",
            "prefetchLayers": config.prefetchLayers.rawValue, "rangesAhead": "\(config.rangesAhead)",
            "privateUpstreams": config.privateUpstreams.rawValue, "prefetchReferrers": "\(config.prefetchReferrers)",
        ]
        for (key, value) in defaults {
            #expect(rows.first { $0[0] == "`\(key)`" }?[3] == "`\(value)`", "\(key)")
        }
    }
}
