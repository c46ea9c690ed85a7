// The program: its name, its sub-commands, and the options that stand before them.

import ArgumentParser
import Registry

@main
struct OCIRegistry: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ociregistry",
        abstract: "A pull-only, pull-through, caching registry for OCI images.",
        version: Version.text,
        subcommands: [Serve.self, ShowVersion.self, Load.self, List.self, Prune.self])

    @OptionGroup var global: GlobalOptions
}

/// Exit statuses of sysexits.h, which argument-parser uses too.
enum Exit {
    /// A flag is wrong: EX_USAGE.
    static let usage = ExitCode(64)
    /// The configuration file is wrong: EX_CONFIG.
    static let configuration = ExitCode(78)
}
