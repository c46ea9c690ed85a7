// `version`: this program's version.

import ArgumentParser

struct ShowVersion: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Show the version.")

    @OptionGroup var global: GlobalOptions

    func run() {
        print("ociregistry \(Version.text)")
    }
}
