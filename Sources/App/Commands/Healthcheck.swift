// The `healthcheck` command: asks a running server whether it is healthy, for containers and scripts without an HTTP
// client.

import ArgumentParser
import Configuration
import Registry

struct Healthcheck: ParsableCommand {
    /// Longer than the server's own limit for a readiness check (2 s), so that its answer says what is late.
    static let defaultTimeoutMilliseconds = 5_000

    static let configuration = CommandConfiguration(
        abstract: "Check whether a running server is healthy.",
        discussion: """
            Requests /readyz of the health listener or, where none is configured, /v2/ of the serving port. The exit \
            status is 0 for a response with status 200, and 1 otherwise; one line says why. The addresses are those \
            of --config-file and of the options, which mean the same as for serve.
            """)

    @OptionGroup var global: GlobalOptions

    @Option(
        help: .init("Port that the server listens on (default: 8080).", valueName: "port"),
        transform: { try ConfigRules.port($0) })
    var port: UInt16?

    @Option(
        help: .init("Address that the server listens on (default: 0.0.0.0).", valueName: "address"),
        transform: { try ConfigRules.listenAddress($0) })
    var host: String?

    @Option(
        help: .init("Port of the server's health listener (default: none).", valueName: "port"),
        transform: { try ConfigRules.port($0) })
    var health: UInt16?

    @Option(
        help: .init(
            "Take the options from the command line of this process: 1 in a container. Ignored unless it is a server.",
            valueName: "pid"),
        transform: { try HealthTarget.processID($0) })
    var process: Int32?

    @Option(
        help: .init("URL to request in place of all others.", valueName: "url"),
        transform: { try HealthTarget.url($0) })
    var url: UpstreamURL?

    @Option(
        help: .init("Give up after so long (default: 5000).", valueName: "ms"),
        transform: { try ConfigRules.timeoutMilliseconds($0) })
    var timeout: Int?

    func run() throws {
        ProcessSetup.apply()
        do {
            let url = try url ?? target()
            let limit = UInt64(clamping: timeout ?? Healthcheck.defaultTimeoutMilliseconds)
            let result = HealthResult(try HealthProbe.get(url, withinMilliseconds: limit), url: url)
            guard result.isHealthy else { throw Failure(description: result.text) }
            LogFile.writeToStandardOutput(Array("healthy: \(result.text)\n".utf8))
        } catch {
            // A file may have several problems, each with a line of its own.
            let reason = "\(error)".split(separator: "\n").joined(separator: "; ")
            throw StartFailure.report("unhealthy: \(reason)", ExitCode.failure)
        }
    }

    private func target() throws -> UpstreamURL {
        let server = try process.flatMap { try ServerCommandLine.options(ofProcess: $0) }
        return try HealthTarget.url(of: try config(of: server))
    }

    /// The settings of a server with these options, as far as its addresses need them. Other problems of the file are
    /// the server's to report.
    func config(of server: Serve?) throws -> Config {
        var config = Config()
        if let file = global.configFile ?? server?.global.configFile {
            config = try HealthTarget.config(file: file)
        }
        server?.options.apply(to: &config)
        if let port { config.port = port }
        if let host { config.host = host }
        if let health { config.healthPort = health }
        return config
    }
}
