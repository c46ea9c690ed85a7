// The reference's flags and sub-commands that this server does not have yet. They are known, so that a script written
// for the reference is told what is missing instead of being misunderstood, and hidden from the help.

import ArgumentParser

/// Flags of `serve`.
struct NotBuiltOptions: ParsableArguments {
    @Option var preloadImages: String?
    @Option var os: String?
    @Option var arch: String?

    func validate() throws {
        let given = [
            ("--preload-images", preloadImages), ("--os", os),
            ("--arch", arch),
        ]
        if let (flag, _) = given.first(where: { $0.1 != nil }) { throw ValidationError("\(flag): not built yet") }
    }
}

/// A sub-command that takes whatever it is given and refuses.
protocol NotBuiltCommand: ParsableCommand {
    var arguments: [String] { get }
}

extension NotBuiltCommand {
    static func hidden(_ name: String) -> CommandConfiguration {
        CommandConfiguration(commandName: name, abstract: "Not built yet.", shouldDisplay: false)
    }

    func validate() throws { throw ValidationError("\(Self._commandName): not built yet") }
}

struct Load: NotBuiltCommand {
    static let configuration = hidden("load")
    @Argument(parsing: .allUnrecognized) var arguments: [String] = []
}

struct List: NotBuiltCommand {
    static let configuration = hidden("list")
    @Argument(parsing: .allUnrecognized) var arguments: [String] = []
}

struct Prune: NotBuiltCommand {
    static let configuration = hidden("prune")
    @Argument(parsing: .allUnrecognized) var arguments: [String] = []
}
