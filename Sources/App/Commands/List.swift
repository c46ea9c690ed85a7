// The `list` command: prints the cached images, one per line.

import ArgumentParser
import Registry

struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the cached images.",
        discussion: """
            IMAGE TAG/DIGEST TYPE CREATED PULLED SIZE(MB), separated by single spaces: pipe through 'column -t' to \
            align them. A server that runs on the cache is asked; without one the cache is read.
            """)

    @OptionGroup var global: GlobalOptions

    @Flag(help: "Begin with a line that names the columns.")
    var header = false

    @Option(help: .init("Only images that one of these matches, separated by commas.", valueName: "regex"))
    var pattern: String?

    @Flag(help: "Cut digests to ten characters.")
    var shortDigest = false

    @Flag(help: "Print JSON, with blobs and sizes.")
    var json = false

    func run() throws {
        let command = AdminCommand.table(pattern: pattern, hasHeader: header, isShort: shortDigest)
        Operator.print(try Operator(config: try global.resolve { _ in }).ask(command, asJSON: json))
    }
}
