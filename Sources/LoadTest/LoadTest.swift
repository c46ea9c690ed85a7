// The load generator of scripts/load-test: pulls the images of a catalog through a server with a rising and then
// falling number of clients, and reports the results. docs/load-testing.md describes the test.

import ArgumentParser
import Glibc
import Registry

@main
struct LoadTest: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ociregistry-load", abstract: "Pull whole images through a registry, and measure.")

    @Option(help: .init("The server under test, http://host:port.", valueName: "url"))
    var server: String

    @Option(help: .init("The images: lines of 'batch path size digest …'.", valueName: "file"))
    var catalog: String

    @Option(help: "Clients at the top of the ramp: 1, 2, 4 … so many, and down again.")
    var pullers = 64

    @Option(help: "How long each step of the ramp is.")
    var stepSeconds = 5.0

    @Option(help: .init("Where pruning is asked for, when that is not the server's own port.", valueName: "url"))
    var admin: String?

    @Flag(help: "Prune each batch when it has been pulled, so that every pull goes to the upstream.")
    var prune = false

    @Option(help: "Hash each so many images; 0: none.")
    var hashEvery = 10

    @Option(help: "The server's process, whose processor time is read.")
    var pid: Int32?

    @Option(help: "The upstream's process, likewise.")
    var upstreamPid: Int32?

    @Option(help: .init("Where rows go, one a second.", valueName: "file"))
    var csv: String?

    /// A larger number would need more local ports to one address than this machine has.
    static let maximumPullers = 10_000

    func validate() throws {
        guard (1...LoadTest.maximumPullers).contains(pullers) else {
            throw ValidationError("--pullers: must be from 1 to \(LoadTest.maximumPullers)")
        }
        guard stepSeconds >= 0.1, stepSeconds <= 3600 else {
            throw ValidationError("--step-seconds: must be from 0.1 to 3600")
        }
        guard hashEvery >= 0 else { throw ValidationError("--hash-every: must not be negative") }
    }

    func run() throws {
        // A write to a closed connection must return an error, not end the process.
        signal(SIGPIPE, SIG_IGN)
        let address = try ServerAddress(server)
        let adminAddress = try admin.map { try ServerAddress($0) } ?? address
        guard let text = TextFile.read(catalog) else { throw ValidationError("--catalog: cannot read '\(catalog)'") }
        let images = try Catalog(text, host: address.authority)
        guard !images.images.isEmpty else { throw ValidationError("--catalog: '\(catalog)' has no images") }
        let file = csv.flatMap { CSVFile($0) }
        if let csv, file == nil { throw ValidationError("--csv: cannot write '\(csv)'") }
        // A separate line-buffered stream, so that each line is written at once to any kind of output.
        guard let output = fdopen(dup(STDOUT_FILENO), "w") else { throw ExitCode.failure }
        setvbuf(output, nil, _IOLBF, 0)
        let loop = try EventLoop()
        let session = Session(
            on: loop, pool: ClientPool(on: loop, catalog: images, address: address, admin: adminAddress),
            plan: .init(
                pullers: Ramp.steps(most: pullers), stepSeconds: stepSeconds, prunes: prune, hashEvery: hashEvery,
                server: pid, upstream: upstreamPid),
            file: file, say: { fputs($0 + "\n", output) })
        if !session.run() { throw ExitCode.failure }
    }
}
