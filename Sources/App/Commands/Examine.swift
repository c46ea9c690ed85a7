// The `doctor` command: finds out whether a machine's container runtimes really pull through a mirror.

import ArgumentParser
import Configuration
import Doctor
import Registry
import RuntimeSetup

struct Examine: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Find out whether this machine pulls through a mirror, and why not.",
        discussion: """
            Checks the mirror, its store and its registries, the clocks, and the files of the container runtimes. Then \
            it has each runtime pull a tiny image with a made-up name, which the mirror alone has (a canary), and says \
            whether the request arrived there, and what the runtime does when the mirror refuses an image.

            Each line begins with ok, warning or failed; a line with → says what to do. The exit status is 1 when \
            something has failed. Run it as root, on the machine that pulls.
            """)

    @OptionGroup var global: GlobalOptions

    @Option(
        help: .init("Address of the mirror (default: http://127.0.0.1:8080).", valueName: "url"),
        transform: { text in
            guard let address = MirrorAddress(text) else {
                throw ValidationError("'\(text)' is not http[s]://host[:port]")
            }
            return address
        })
    var mirror: MirrorAddress?

    @Option(
        name: .customLong("ca"),
        help: .init("Certificate authority of an https mirror (PEM).", valueName: "file"), completion: .file(),
        transform: { try ConfigRules.path($0) })
    var authority: String?

    @Option(
        help: .init(
            "Runtime to examine: containerd, podman, crio, docker or k3s; can be repeated (default: those found here).",
            valueName: "runtime"))
    var runtime: [Runtime] = []

    @Option(
        help: .init("Unix socket of the runtime, with one --runtime.", valueName: "path"), completion: .file(),
        transform: { try ConfigRules.path($0) })
    var socket: String?

    @Option(
        help: .init("Directory that holds the node's etc.", valueName: "dir"), completion: .directory,
        transform: { try ConfigRules.path($0) })
    var root = "/"

    @Flag(help: "Pull no canary.")
    var noCanary = false

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard socket != nil else { return }
        guard runtime.count == 1, runtime.first != .podman else {
            throw ValidationError("--socket belongs to one --runtime, which is not podman")
        }
    }

    func run() throws {
        guard let address = mirror ?? MirrorAddress("http://127.0.0.1:8080") else { return }
        var doctor = Doctor(address)
        doctor.authorities = authority
        doctor.root = root
        doctor.pullsCanary = !noCanary
        doctor.targets =
            runtime.isEmpty ? Doctor.runtimesHere(root: root) : runtime.map { RuntimeTarget($0, socket: socket) }
        var checks: [DiagnosticReport.Check] = []
        doctor.run { check in
            checks.append(check)
            if !json { Operator.print(Array("\(check.text)\n".utf8)) }
        }
        let report = DoctorReport(mirror: address.url, checks: checks)
        if json { Operator.print(report.json) }
        if !report.ok { throw ExitCode.failure }
    }
}
