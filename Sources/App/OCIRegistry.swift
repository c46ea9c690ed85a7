// The root command: its name, its sub-commands and the exit statuses.

import ArgumentParser
import Registry

@main
struct OCIRegistry: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ociregistry",
        abstract: "A pull-only, pull-through, caching registry for OCI images.",
        version: Version.text,
        subcommands: [
            Serve.self, Load.self, Export.self, Verify.self, ShowVersion.self, List.self, Prune.self, Refresh.self,
            Approve.self, CheckConfig.self, Explain.self, Reload.self, Healthcheck.self, SetUpRuntime.self,
            Examine.self,
        ])

    @OptionGroup var global: GlobalOptions
}

/// Exit statuses of sysexits.h, in addition to argument-parser's own (EX_USAGE, 64, for an invalid option).
enum Exit {
    /// The configuration file is invalid: EX_CONFIG.
    static let configuration = ExitCode(78)
    /// Another process that does not answer holds the cache; a later attempt may succeed: EX_TEMPFAIL.
    static let inUse = ExitCode(75)

    /// The status that a shell reports for a process ended by `signal`.
    static func stopped(by signal: Int32) -> ExitCode { ExitCode(128 + signal) }
}
