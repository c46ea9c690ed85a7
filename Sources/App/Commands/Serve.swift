// The `serve` command: reads the options and runs the server.

import ArgumentParser
import Configuration
import Logging
import Registry

struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve images, from the cache or an upstream.",
        discussion: """
            SIGTERM and SIGINT stop the server when open requests have ended; SIGHUP makes it read its configuration \
            again. Under systemd it reports when it is ready, reloading or stopping (Type=notify), proves to the \
            watchdog that it runs (WatchdogSec=), and uses the sockets of socket units in place of the configured \
            addresses: FileDescriptorName= is http, metrics, health or admin.
            """)

    @OptionGroup var global: GlobalOptions
    @OptionGroup var options: ServeOptions
    @OptionGroup var platforms: PlatformOptions

    func run() throws {
        ProcessSetup.apply()
        let service = ServiceSettings.take()
        let passed = try passedSockets()
        // Before it is read: a later change is noticed (`reloadOnChange`).
        let file = global.configFile.map { (path: $0, identity: FileIdentity($0)) }
        let config = try resolvedConfig(passed)
        let log = try config.openLog()
        let logger = Logger(label: "ociregistry") { _ in LineLogHandler(writer: log) }
        defer { log.close() }
        do {
            let running = try Running(
                config: config, configFile: file, logger: logger, log: log, passed: passed,
                service: service
            ) {
                try readAgain(running: $0, passed)
            }
            try running.run()
        } catch {
            throw StartFailure.report("\(error)", ExitCode.failure)
        }
    }

    private func passedSockets() throws -> PassedSockets {
        do throws(Refusal) { return try PassedSockets.take() } catch {
            throw StartFailure.report("\(error)", Exit.configuration)
        }
    }

    private func resolvedConfig(_ passed: PassedSockets) throws -> Config {
        try global.resolve { try complete(&$0, passed) }
    }

    /// The configuration as it is now, for a server that runs.
    /// - Throws: every problem of the file.
    private func readAgain(running: Config, _ passed: PassedSockets) throws(ConfigError) -> PreparedReload {
        let check = ConfigCheck(path: global.configFile, environment: Environment.value) {
            global.apply(to: &$0)
            override(&$0, passed)
        }
        return try PreparedReload(check, running: running)
    }

    private func override(_ config: inout Config, _ passed: PassedSockets) {
        options.apply(to: &config)
        platforms.apply(to: &config)
        passed.apply(to: &config)
    }

    private func complete(_ config: inout Config, _ passed: PassedSockets) throws {
        override(&config, passed)
        try config.readEnvironment(Environment.value)
        if let first = config.listenerProblems.first { throw first.refusal }
        if let conflict = config.conflictOfTags { throw conflict.refusal }
    }
}
