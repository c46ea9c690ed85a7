// The program: its name, its sub-commands, and the options that stand before them.

import ArgumentParser
import Registry

@main
struct OCIRegistry: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ociregistry",
        abstract: "A pull-only, pull-through, caching registry for OCI images.",
        version: Version.text,
        subcommands: [Serve.self, Load.self, Export.self, Verify.self, ShowVersion.self, List.self, Prune.self])

    @OptionGroup var global: GlobalOptions
}

/// Exit statuses of sysexits.h beside argument-parser's own (EX_USAGE, 64, for a wrong option).
enum Exit {
    /// The configuration file is wrong: EX_CONFIG.
    static let configuration = ExitCode(78)
    /// Somebody who cannot be asked holds the cache; later, the same would work: EX_TEMPFAIL.
    static let inUse = ExitCode(75)

    /// A signal asked for the end: the status that a shell gives for it.
    static func stopped(by signal: Int32) -> ExitCode { ExitCode(128 + signal) }
}
