// All checks in their order, and their text.

internal import Glibc
internal import RuntimeSetup
package import Registry

/// What is examined.
package struct Doctor: Sendable {
    package var address: MirrorAddress
    /// A file of certificate authorities for an https mirror.
    package var authorities: String?
    package var targets: [RuntimeTarget] = []
    /// The directory with the node's `etc`.
    package var root = "/"
    package var pullsCanary = true

    package init(_ address: MirrorAddress) { self.address = address }

    /// The runtimes of this machine: those with a socket, and podman where its files name a mirror.
    package static func runtimesHere(root: String) -> [RuntimeTarget] {
        Runtime.allCases.compactMap { runtime in
            let target = RuntimeTarget(runtime)
            // Beside dockerd, a containerd without its CRI plugin is dockerd's own.
            if runtime == .containerd, access(RuntimeTarget.usualSocket(.docker), F_OK) == 0,
                (try? target.client.version()) == nil
            {
                return nil
            }
            if runtime != .podman { return access(target.socket, F_OK) == 0 ? target : nil }
            return RuntimeConfiguration.examine(.podman, root: root).contains { !$0.mirrors.isEmpty } ? target : nil
        }
    }

    /// Runs all checks, one after the other. Blocks, for a minute or more where a runtime waits for an address.
    /// - Parameter onCheck: called with each result as soon as it is there.
    package func run(onCheck: (DiagnosticReport.Check) -> Void) {
        let mirror = MirrorChecks(address: address, authorities: authorities)
        let (isReachable, checks) = mirror.run()
        for check in checks { onCheck(check) }
        for target in targets {
            let runtime = RuntimeChecks(
                target: target, address: address, root: root, mirror: isReachable && pullsCanary ? mirror : nil)
            for check in runtime.run() { onCheck(check) }
        }
        if targets.isEmpty {
            onCheck(
                .init(
                    name: "configuration", .warning, "no container runtime is found on this machine",
                    remedy: "name one with --runtime"))
        }
        if !isReachable, pullsCanary, !targets.isEmpty {
            onCheck(.init(name: "canary", .warning, "not tried, since the mirror does not answer"))
        }
    }
}

extension DiagnosticReport.Check {
    /// Longest text of one part.
    private static let maximumCharacters = 2_000

    /// `ok      server http://mirror:8080: answers`, with what to do in a second line.
    package var text: String {
        let state = self.state.rawValue
        let name =
            subject.isEmpty ? Self.printable(self.name) : "\(Self.printable(self.name)) \(Self.printable(subject))"
        let padding = String(repeating: " ", count: max(1, 8 - state.count))
        let line = "\(state)\(padding)\(name): \(Self.printable(message))"
        return remedy.isEmpty ? line : "\(line)\n        → \(Self.printable(remedy))"
    }

    /// Texts come from the mirror and from runtimes: nothing in them may move the cursor or look like another line.
    private static func printable(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars.prefix(maximumCharacters) {
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator: result.append(" ")
            default: result.append(scalar)
            }
        }
        return String(result)
    }
}

/// The output of `doctor --json`.
package struct DoctorReport: Encodable {
    package let mirror: String
    package let ok: Bool
    package let checks: [DiagnosticReport.Check]

    package init(mirror: String, checks: [DiagnosticReport.Check]) {
        self.mirror = mirror
        self.checks = checks
        ok = !checks.contains { $0.state == .failed }
    }

    package var json: [UInt8] { NDJSONLine.encode(self) }
}
