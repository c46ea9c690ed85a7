// The `prune` command: removes images from the cache, and each layer with the last image that uses it.

import ArgumentParser
import Configuration
import Registry

struct Prune: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Remove images from the cache.",
        discussion: """
            Exactly one of --pattern, --date and --unused-for says which. The last two also remove blobs that no \
            cached image names, by the blobs' own times. A server that runs on the cache is asked to do it, and keeps \
            what it has served in the last ten minutes (leaseDuration) unless --force is given; without one it is \
            done at once.
            """)

    @OptionGroup var global: GlobalOptions

    @Option(help: .init("Images that one of these matches, separated by commas.", valueName: "regex"))
    var pattern: String?

    @Option(
        help: .init("Images that came before this local time, YYYY-MM-DDTHH:MM:SS.", valueName: "time"),
        transform: { text in
            guard let seconds = LocalTime.seconds(text) else {
                throw ValidationError("must be a local time such as 2026-01-31T12:00:00, not '\(text)'")
            }
            return seconds
        })
    var date: Int64?

    @Option(
        help: .init("Images not pulled for so long, such as 30d (ns us ms s m h d).", valueName: "time"),
        transform: { try Age($0) })
    var unusedFor: Age?

    @Flag(help: "Say what would be removed, and remove nothing.")
    var dryRun = false

    @Flag(help: "Remove also images that are being pulled; clients that read a layer get all of it.")
    var force = false

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard [pattern != nil, date != nil, unusedFor != nil].count(where: { $0 }) == 1 else {
            throw ValidationError("exactly one of --pattern, --date and --unused-for is needed")
        }
        if pattern == "" { throw ValidationError("--pattern: an empty expression would match everything") }
    }

    /// Which images to remove; nil before `validate` has checked the options.
    var selection: AdminCommand.Prune.Selection? {
        pattern.map { .pattern($0) } ?? date.map { .createdBefore(seconds: $0) } ?? unusedFor.map { .accessed($0) }
    }

    func run() throws {
        guard let selection else { return }
        let command = AdminCommand.prune(
            .init(selection, limit: nil, isDryRun: dryRun, isForced: force, isReport: true))
        Operator.print(try Operator(config: try global.resolve { _ in }).ask(command, asJSON: json))
    }
}
