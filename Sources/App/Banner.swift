// The start-up lines on standard error: addresses and main settings, at every log level. With the JSON log format they
// are JSON too, so that standard error holds nothing else.

import Configuration
import Logging
import OCI
import Registry

enum Banner {
    /// The start-up lines, each with its line end. The first ends with the bound address.
    /// - Parameters:
    ///   - metrics, health, admin: the addresses of these listeners; nil for a listener that is off.
    ///   - passed: the listeners that systemd has opened.
    static func text(
        _ config: Config, address: String, metrics: String?, health: String?, admin: String?,
        passed: PassedSockets = .none
    ) -> String {
        var lines = ["ociregistry \(Version.text) listening on http://\(address)"]
        lines.append("  cache: \(config.imagePath)")
        if let metrics { lines.append("  metrics: http://\(metrics)/metrics") }
        if let health { lines.append("  health: http://\(health)/readyz") }
        if let admin { lines.append("  administration: http://\(admin)/cmd/") }
        if !passed.isEmpty { lines.append("  sockets from systemd: \(passed.text)") }
        if config.adminOnServingPort { lines.append("  administration on the serving port: with adminToken") }
        if let host = config.defaultNamespace { lines.append("  default namespace: \(host)") }
        if !config.registries.isEmpty {
            lines.append("  configured registries: \(config.registries.map(\.name.text).joined(separator: ", "))")
        }
        if config.airGapped { lines.append("  air-gapped: nothing is fetched") }
        if config.helloWorld { lines.append("  hello-world: docker.io/library/hello-world:latest is built in") }
        guard config.logFormat == .json else { return lines.joined(separator: "\n") + "\n" }
        let now = LogTimestamp.now()
        let written = lines.flatMap { line in
            let message = String(line.drop { $0 == " " })
            return LogFormat.json.line(milliseconds: now, level: .info, message: message)
        }
        return String(decoding: written, as: UTF8.self)
    }
}
