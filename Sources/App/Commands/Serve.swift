// The `serve` command: reads the options and runs the server.

import ArgumentParser
import Configuration
import Logging
import Registry

struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Serve images, from the cache or an upstream.")

    @OptionGroup var global: GlobalOptions
    @OptionGroup var options: ServeOptions
    @OptionGroup var platforms: PlatformOptions

    func run() throws {
        ProcessSetup.apply()
        let config = try resolvedConfig()
        let log = try config.openLog()
        let logger = Logger(label: "ociregistry") { _ in LineLogHandler(writer: log) }
        defer { log.close() }
        do {
            try serve(config: config, logger: logger, log: log)
        } catch {
            throw StartFailure.report("\(error)", ExitCode.failure)
        }
    }

    private func resolvedConfig() throws -> Config { try global.resolve { try complete(&$0) } }

    /// The configuration as it is now, for a server that runs.
    /// - Throws: every problem of the file.
    private func readAgain(running: Config) throws(ConfigError) -> PreparedReload {
        let check = ConfigCheck(path: global.configFile, environment: Environment.value) {
            global.apply(to: &$0)
            override(&$0)
        }
        return try PreparedReload(check, running: running)
    }

    private func override(_ config: inout Config) {
        options.apply(to: &config)
        platforms.apply(to: &config)
    }

    private func complete(_ config: inout Config) throws {
        override(&config)
        try config.readEnvironment(Environment.value)
        if let first = config.listenerProblems.first { throw first.refusal }
        if let conflict = config.conflictOfTags { throw conflict.refusal }
    }

    /// Runs until a requested stop has finished.
    private func serve(config: Config, logger: Logger, log: LogWriter) throws {
        let running = try Running(config: config, logger: logger, log: log) { try readAgain(running: $0) }
        try running.run()
    }
}
