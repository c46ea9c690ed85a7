// The `setup` command: writes the configuration of a container runtime so that it pulls through this server.

import ArgumentParser
import Configuration
import OCI
import Registry
import RuntimeSetup

extension Runtime: ExpressibleByArgument {}

struct SetUpRuntime: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "setup",
        abstract: "Make a container runtime pull through a mirror.",
        usage: """
            ociregistry setup <runtime> --mirror <url> [--registry <host> ...] [--ca <file>] [--root <dir>] \
            [--dry-run] [--hosts-only]
            ociregistry setup <runtime> --remove [--root <dir>] [--dry-run] [--hosts-only]
            """,
        discussion: """
            Prints the change as a diff, and makes it. Files that are there get an insertion between two marks, and \
            a copy of the file as it was is kept beside it (.ociregistry-backup). A second run changes nothing, or \
            moves to another mirror. --remove takes everything away again. The last line says what has to be \
            restarted.

            containerd  certs.d/_default/hosts.toml or certs.d/HOST, and config.toml
            podman      registries.conf.d/50-ociregistry.conf, usual registries
            crio        the same file
            docker      registry-mirrors in daemon.json: docker.io only
            k3s         registries.yaml
            """)

    @OptionGroup var global: GlobalOptions

    @Argument(help: "Container runtime.")
    var runtime: Runtime

    @Option(
        help: .init("Address of the mirror: http[s]://host[:port].", valueName: "url"),
        transform: { try MirrorURL($0) })
    var mirror: MirrorURL?

    @Option(
        help: .init(
            "Registry to pull through the mirror; can be repeated (default: all, or the usual ones).",
            valueName: "host"),
        transform: { try ConfigRules.registryHost($0) })
    var registry: [RegistryHost] = []

    @Option(
        name: .customLong("ca"),
        help: .init("Certificate authority of an https mirror (PEM); it is copied.", valueName: "file"),
        completion: .file(), transform: { try ConfigRules.path($0) })
    var authority: String?

    @Option(
        help: .init("Directory that holds the node's etc.", valueName: "dir"), completion: .directory,
        transform: { try ConfigRules.path($0) })
    var root = "/"

    @Flag(help: "Print the change, and make none.")
    var dryRun = false

    @Flag(help: "For containerd: write certs.d only; config.toml is neither read nor written.")
    var hostsOnly = false

    @Flag(help: "Take away what setup has written.")
    var remove = false

    func validate() throws {
        if remove {
            guard mirror == nil, registry.isEmpty, authority == nil else {
                throw ValidationError("--remove takes all of it away: it goes without --mirror, --registry and --ca")
            }
        } else if mirror == nil {
            throw ValidationError("--mirror URL is missing (or --remove)")
        }
        if hostsOnly, runtime != .containerd { throw ValidationError("--hosts-only is for containerd") }
        if authority != nil, mirror?.scheme == "http" {
            throw ValidationError("--ca is for a mirror with https://, and this one has http://")
        }
        if let mirror, registry.contains(where: { $0.text == mirror.authority }) {
            throw ValidationError("--registry \(mirror.authority): that is the mirror itself")
        }
    }

    func run() throws {
        do throws(Refusal) {
            try change()
        } catch {
            throw StartFailure.report(error.reason, .failure)
        }
    }

    private func change() throws(Refusal) {
        if let authority, let reason = NamedFile.contentProblem(.authorities, authority) {
            throw Refusal("--ca \(authority): \(reason)")
        }
        let plan = try SetupPlan(
            SetupRequest(
                runtime: runtime, mirror: mirror, registries: registry, authorityFile: authority, root: root,
                hostsOnly: hostsOnly))
        // Before anything is changed, and before an error.
        Self.show(plan.isEmpty ? "Nothing to change.\n" : plan.diff)
        var lines = plan.notes
        if !plan.isEmpty, !dryRun { lines += try plan.apply() }
        if !plan.isEmpty { lines.append(dryRun ? "Nothing has been changed (--dry-run)." : plan.nextStep) }
        Self.show(lines.map { $0 + "\n" }.joined())
    }

    private static func show(_ text: String) { LogFile.writeToStandardOutput(Array(text.utf8)) }
}
