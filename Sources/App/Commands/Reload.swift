// The `reload` command: makes a running server read its configuration again, and prints what came of it.

import ArgumentParser
import Configuration
import Registry

struct Reload: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a running server read its configuration again.",
        discussion: """
            Waits until the configuration is in use or refused. Prints each key that has changed, and each that needs \
            a restart. A configuration with a problem is not used: every problem is printed as file:line: key: reason, \
            and the exit status is 1. The server reads the file that it was started with. --image-path, or imagePath \
            in the file of --config-file, selects the server by the directory of its cache.
            """)

    @OptionGroup var global: GlobalOptions

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        do {
            let imagePath = try imagePath()
            let socket = Store.adminSocket(imagePath: imagePath)
            guard let answer = try AdminClient.ask(.reload, asJSON: json, socket: socket) else {
                throw Failure(description: "no server runs on the cache \(imagePath) (\(socket))")
            }
            Operator.print(answer)
        } catch {
            throw StartFailure.report("\(error)", ExitCode.failure)
        }
    }

    /// The directory of the server's cache. Other problems of the configuration file are the server's to report.
    private func imagePath() throws -> String {
        guard global.imagePath == nil, let file = global.configFile else {
            return global.imagePath ?? Config().imagePath
        }
        let examined = ConfigDecoder.examine(path: file, environment: Environment.value)
        guard examined.problems.isEmpty || (!examined.lines.isEmpty && examined.isImagePathValid) else {
            let problems = ConfigError(problems: examined.problems)
            throw Failure(
                description: """
                    \(problems)
                    the server was not asked, since imagePath cannot be read from \(file): use --image-path
                    """)
        }
        return examined.config.imagePath
    }
}

extension ExaminedConfig {
    fileprivate var isImagePathValid: Bool { !problems.contains { $0.key == "imagePath" } }
}
