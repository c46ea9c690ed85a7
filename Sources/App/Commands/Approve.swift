// The `approve` command: ends the wait of an image that `cooldown` holds back.

import ArgumentParser
import OCI
import Registry

struct Approve: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve an image that is held back (cooldown).",
        discussion: """
            The image is served from now on, in every repository that has it. 'list --cooldown' shows what waits. A \
            server that runs on the cache is asked; without one the approval is written to the cache.
            """)

    @OptionGroup var global: GlobalOptions

    @Argument(help: .init("The digest of the image's manifest or index.", valueName: "digest"))
    var digest: String

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        guard let digest = Digest(digest) else {
            throw ValidationError(
                "'\(digest)' is not a digest: sha256: and 64 hexadecimal digits, as in 'list --cooldown'")
        }
        Operator.print(try Operator(config: try global.resolve { _ in }).ask(.approve(digest), asJSON: json))
    }
}
