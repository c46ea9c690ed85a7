// What differs between two configurations, and what of it needs a restart.

import TestSupport
import Testing

@testable import Configuration

@Suite struct ConfigChangesTests {
    /// `serverTlsConfig` has no value yet.
    private static let withoutValue: Set<String> = ["serverTlsConfig"]

    @Test("every top-level key is compared when the configuration is reloaded") func keys() {
        let compared = ConfigSetting.all.flatMap { [$0.key] + ($0.alias.map { [$0] } ?? []) }
        #expect(Set(compared) == Set(ConfigDecoder.keys.map(\.name)).subtracting(Self.withoutValue))
        #expect(compared.count == Set(compared).count)
    }

    @Test("the document marks the keys that need a restart, and no others") func document() throws {
        let rows = try SourceTree.text("docs/configuration.md").split(separator: "\n").filter { $0.hasPrefix("| `") }
        let marked = rows.filter { $0.contains("Needs a restart.") }.map { row in
            String(row.dropFirst("| `".count).prefix { $0 != "`" })
        }
        #expect(Set(marked) == Set(ConfigSetting.all.filter(\.needsRestart).map(\.key)))
        #expect(marked.count == Set(marked).count)
    }

    @Test(
        "a changed value is reported under its key",
        arguments: [
            ("logLevel: debug", ["logLevel"]), ("maxBytes: 1GB\nlowWatermark: 50", ["maxBytes", "lowWatermark"]),
            ("adminToken: abc", ["adminToken"]), ("registries: [{name: a.test}]", ["registries"]),
            ("pruneConfig: {enabled: true}", ["pruneConfig"]), ("scrub: {interval: 1d}", ["scrub"]),
            ("proxy: direct\nconnectTimeout: 1s", ["proxy", "connectTimeout"]), ("port: 8080", []),
        ] as [(String, [String])])
    func changes(_ yaml: String, _ keys: [String]) throws {
        let changes = ConfigChanges(from: Config(), to: try decode(yaml))
        #expect(changes.used == keys)
        #expect(changes.needRestart == [])
    }

    @Test("settings that need a restart are reported and kept, the others are taken") func restart() throws {
        var running = Config()
        running.port = 1
        running.host = "127.0.0.1"
        running.logLevel = .debug
        let file = try decode("imagePath: /elsewhere\nmetrics: 5\nhealth: 6\nmetricsHost: ::1\nadminListen: '7'\n")
        let changes = ConfigChanges(from: running, to: file)
        #expect(changes.used == ["logLevel"])
        #expect(
            changes.needRestart == ["imagePath", "port", "host", "metrics", "metricsHost", "health", "adminListen"])
        let kept = file.keepingRestartSettings(of: running)
        var expected = running
        expected.logLevel = .error
        #expect(kept == expected)
    }
}
