// The `list` command: prints the cached images, one per line.

import ArgumentParser
import Registry

struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the cached images, or the cached blobs.",
        discussion: """
            IMAGE TAG/DIGEST TYPE CREATED PULLED SIZE(MB), separated by single spaces: pipe through 'column -t' to \
            align them. With --blobs: DIGEST REFERENCES CREATED USED SIZE(MB), where REFERENCES is the number of \
            cached manifests that name the blob. A server that runs on the cache is asked; without one the cache is \
            read.
            """)

    @OptionGroup var global: GlobalOptions

    @Flag(help: "Begin with a line that names the columns.")
    var header = false

    @Option(help: .init("Only images that one of these matches, separated by commas.", valueName: "regex"))
    var pattern: String?

    @Flag(help: "List blobs, with the number of manifests that name each and its last use.")
    var blobs = false

    @Flag(help: "Cut digests to ten characters.")
    var shortDigest = false

    @Flag(
        help: """
            List the images that are held back (cooldown), with their tags: IMAGE SERVED WAITING SEEN UNTIL, times in \
            UTC.
            """)
    var cooldown = false

    @Flag(help: "Print JSON. The list of images then has their blobs and sizes.")
    var json = false

    func validate() throws {
        if cooldown, shortDigest {
            throw ValidationError("--short-digest: 'ociregistry approve' needs the whole digests")
        }
        if blobs, cooldown { throw ValidationError("--blobs and --cooldown are different lists") }
        if blobs, pattern != nil {
            throw ValidationError("--pattern: blobs have no names that it could match")
        }
    }

    func run() throws {
        let command: AdminCommand =
            cooldown
            ? .cooldown(pattern: pattern, hasHeader: header)
            : blobs
                ? .blobTable(hasHeader: header, isShort: shortDigest)
                : .table(pattern: pattern, hasHeader: header, isShort: shortDigest)
        Operator.print(try Operator(config: try global.resolve { _ in }).ask(command, asJSON: json))
    }
}
