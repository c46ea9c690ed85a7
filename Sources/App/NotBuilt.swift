// The reference's sub-commands that this server does not have yet. They are known, so that a script written
// for the reference is told what is missing instead of being misunderstood, and hidden from the help.

import ArgumentParser

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

struct List: NotBuiltCommand {
    static let configuration = hidden("list")
    @Argument(parsing: .allUnrecognized) var arguments: [String] = []
}

struct Prune: NotBuiltCommand {
    static let configuration = hidden("prune")
    @Argument(parsing: .allUnrecognized) var arguments: [String] = []
}
