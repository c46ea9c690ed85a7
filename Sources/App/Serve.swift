// `serve`: from the command line to a running server.

import ArgumentParser
import Logging
import Registry

struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Serve images, from the cache or an upstream.")

    @OptionGroup var global: GlobalOptions
    @OptionGroup var options: ServeOptions
    @OptionGroup(visibility: .hidden) var notBuilt: NotBuiltOptions

    func run() throws {
        ProcessSetup.apply()
        let config = try resolvedConfig()
        let log = try openLog(config)
        let logger = Logger(label: "ociregistry") { _ in LineLogHandler(writer: log, level: config.logLevel) }
        defer { log.close() }
        do {
            try serve(config: config, logger: logger, log: log)
        } catch {
            throw StartFailure.report("\(error)", ExitCode.failure)
        }
    }

    private func resolvedConfig() throws -> Config {
        do {
            var config = try global.config(environment: Environment.value)
            options.apply(to: &config)
            try config.checkPorts()
            return config
        } catch {
            throw StartFailure.report("\(error)", Exit.configuration)
        }
    }

    private func openLog(_ config: Config) throws -> LogWriter {
        do throws(LogFileError) {
            return try LogWriter(path: config.logFile, format: config.logFormat)
        } catch {
            throw StartFailure.report("log file: \(error)", Exit.configuration)
        }
    }

    /// Runs until the server has been told to stop and has finished.
    private func serve(config: Config, logger: Logger, log: LogWriter) throws {
        let running = try Running(config: config, logger: logger, log: log)
        try running.run()
    }
}
