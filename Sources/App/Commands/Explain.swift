// The `explain` command: says what the configuration decides about an image name, and why.

import ArgumentParser
import Configuration
import OCI
import Registry

struct Explain: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say how the configuration would have an image pulled.",
        discussion: """
            Prints key: value lines: the registry, the entry that applies, its endpoints with their requests, \
            credentials, proxies and limits. No upstream is asked, no name is looked up and no helper is run. Secrets \
            are not printed. Options of 'serve' that override the file are not taken into account.
            """)

    /// Longest user name accepted, in bytes: more than any client's certificate or password file has.
    private static let maximumUserBytes = 255

    @OptionGroup var global: GlobalOptions

    @Option(
        help: .init("IP address of the client that pulls.", valueName: "address"),
        transform: { try Explain.address($0) })
    var from: NetworkAddress?

    @Option(help: .init("Name of the user who pulls.", valueName: "name"), transform: { try Explain.userName($0) })
    var user: String?

    @Argument(help: .init("Image name as clients write it, with a tag or digest or without.", valueName: "name"))
    var name: String

    func validate() throws { _ = try written(defaultHost: .dockerHub) }

    func run() throws {
        let config = try global.resolve { config in
            try config.readEnvironment(Environment.value)
            if let first = config.listenerProblems.first { throw first.refusal }
        }
        let image = try written(defaultHost: config.defaultNamespace ?? .dockerHub)
        let explanation = ImageExplanation(
            image, for: ExplainedClient(address: from, user: user), config: config,
            docker: config.dockerConfig.map { DockerConfig.read($0) })
        LogFile.writeToStandardOutput(Array(explanation.text.utf8))
    }

    private func written(defaultHost: RegistryHost) throws -> WrittenImageName {
        do throws(WrittenImageName.Invalid) {
            return try WrittenImageName(name, defaultHost: defaultHost)
        } catch {
            throw ValidationError("\(ConfigRules.shown(name)) is no image name: \(error)")
        }
    }

    private static func address(_ text: String) throws -> NetworkAddress {
        guard let address = NetworkAddress(literal: text) else {
            throw ValidationError("must be an IPv4 or IPv6 address, not \(ConfigRules.shown(text))")
        }
        return address
    }

    private static func userName(_ text: String) throws -> String {
        // RFC 7617 §2: a colon ends the user name.
        guard (1...maximumUserBytes).contains(text.utf8.count),
            text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F && $0 != 0x3A })
        else {
            throw ValidationError(
                "must be a name of at most \(maximumUserBytes) bytes without colons and control characters")
        }
        return text
    }
}
