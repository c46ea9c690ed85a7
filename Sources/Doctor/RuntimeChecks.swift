// A container runtime: whether its configuration names the mirror, and whether its pulls arrive there.

internal import OCI
internal import Registry
package import RuntimeSetup

/// A runtime, and how it is asked to pull.
package struct RuntimeTarget: Sendable {
    package let runtime: Runtime
    /// The runtime's Unix socket; for podman, unused.
    package let socket: String
    /// For podman: the program and the options before each command.
    package var podman = ["podman"]

    package init(_ runtime: Runtime, socket: String? = nil) {
        self.runtime = runtime
        self.socket = socket ?? RuntimeTarget.usualSocket(runtime)
    }

    package static func usualSocket(_ runtime: Runtime) -> String {
        switch runtime {
        case .containerd: "/run/containerd/containerd.sock"
        case .k3s: "/run/k3s/containerd/containerd.sock"
        case .crio: "/run/crio/crio.sock"
        case .docker: "/run/docker.sock"
        case .podman: ""
        }
    }

    var client: any RuntimeClient {
        switch runtime {
        case .containerd, .k3s, .crio: CRIClient(socket: socket)
        case .docker: DockerClient(socket: socket)
        case .podman: PodmanClient(command: podman)
        }
    }
}

struct RuntimeChecks {
    let target: RuntimeTarget
    let address: MirrorAddress
    let root: String
    /// Nil: no canary is pulled.
    let mirror: MirrorChecks?

    func run() -> [Check] {
        let findings = RuntimeConfiguration.examine(target.runtime, root: root)
        return configuration(findings) + (mirror.map { canary(findings, $0) } ?? [])
    }

    private func check(_ state: Check.State, _ message: String, _ remedy: String = "") -> Check {
        Check(name: "configuration", subject: target.runtime.rawValue, state, message, remedy: remedy)
    }

    // MARK: Files

    private var setup: String { "ociregistry setup \(target.runtime.rawValue) --mirror \(address.url)" }

    private func configuration(_ findings: [RuntimeFinding]) -> [Check] {
        var checks = findings.compactMap { finding in
            finding.problem.map { check(.failed, "\(finding.file): \($0)", finding.remedy ?? "") }
        }
        let named = findings.filter { !$0.mirrors.isEmpty }
        let ours = named.filter { $0.mirrors.contains { address.isNamed(by: $0) } }
        for finding in ours where finding.problem == nil {
            let what = finding.registries.map { $0 == "*" ? "every registry without an entry of its own" : $0 }
            checks.append(check(.ok, "\(finding.file) names this mirror for \(what.joined(separator: ", "))"))
        }
        guard ours.isEmpty else { return checks }
        guard !named.isEmpty else {
            return checks + [check(.failed, "no file of \(target.runtime.rawValue) names a mirror", "run: \(setup)")]
        }
        return checks
            + named.map {
                check(
                    .failed, "\($0.file) names \($0.mirrors.joined(separator: ", ")), and not \(address.url)",
                    "run: \(setup)")
            }
    }

    // MARK: The canary

    private func canary(_ findings: [RuntimeFinding], _ mirror: MirrorChecks) -> [Check] {
        let client = target.client
        let version: String
        do throws(RuntimeFailure) { version = try client.version() } catch {
            return [
                canary(
                    .failed, "the runtime cannot be asked: \(error.reason)",
                    "start it, run this as root, or name its socket with --socket")
            ]
        }
        let problem = client.configurationProblem().map { check(.failed, $0.problem, $0.remedy) }
        let listener = Listener()
        listener?.start()
        defer { listener?.stop() }
        let trial = CanaryTrial(
            client: client, version: version, mirror: mirror,
            registry: registry(findings, listener), listener: listener)
        return [problem].compactMap(\.self) + trial.run().map { canary($0.state, $0.message, $0.remedy) }
    }

    private func canary(_ state: Check.State, _ message: String, _ remedy: String = "") -> Check {
        Check(name: "canary", subject: target.runtime.rawValue, state, message, remedy: remedy)
    }

    /// The registry in the canary's name: one that the configuration sends here. Where it sends every registry here,
    /// the name leads to the listener, so that a pull past the mirror is seen.
    private func registry(_ findings: [RuntimeFinding], _ listener: Listener?) -> String {
        let ours = findings.filter { $0.mirrors.contains { address.isNamed(by: $0) } }.flatMap(\.registries)
        let isForAll = ours.contains("*") || (ours.isEmpty && target.runtime != .docker && target.runtime != .podman)
        if isForAll, let listener { return "127.0.0.1:\(listener.port)" }
        return ours.first { !$0.contains("*") } ?? "docker.io"
    }
}

/// Two pulls of a canary: one that the mirror serves, and one that it refuses.
private struct CanaryTrial {
    let client: any RuntimeClient
    let version: String
    let mirror: MirrorChecks
    let registry: String
    let listener: Listener?

    typealias Line = (state: Check.State, message: String, remedy: String)

    private static let hexDigits = Array("0123456789abcdef")

    func run() -> [Line] {
        let id = String((0..<CanaryName.idBytes).map { _ in CanaryTrial.hexDigits.randomElement() ?? "0" })
        let image = "\(registry)/\(CanaryName.namespace)\(id)"
        let name = "\(image):\(CanaryName.servedTag)"
        let failure = failure { () throws(RuntimeFailure) in try client.pull(name) }
        client.remove(name)
        guard let arrived = mirror.arrivals(of: id) else {
            return [(.warning, "the mirror does not say whether a pull arrives", "see the line about its report")]
        }
        let line = served(failure, arrived)
        guard failure == nil, !arrived.isEmpty else { return [line] }
        return [line, refused("\(image):\(CanaryName.refusedTag)", id, arrived.count)]
    }

    private func failure(_ body: () throws(RuntimeFailure) -> Void) -> RuntimeFailure? {
        do throws(RuntimeFailure) {
            try body()
            return nil
        } catch {
            return error
        }
    }

    private func served(_ failure: RuntimeFailure?, _ arrived: [CanaryArrivals.Arrival]) -> Line {
        let bypassed = (listener?.connections ?? 0) > 0
        guard let first = arrived.first else {
            guard let failure else {
                // Nobody else has that name.
                return (
                    .warning, "\(version) pulls a canary, and this address does not know of the pull",
                    "several servers may be behind the address: name one of them with --mirror"
                )
            }
            let reason = CanaryTrial.oneLine(failure.reason)
            let what = bypassed ? "asked the registry itself, and not this mirror" : "did not reach this mirror"
            return (.failed, "\(version) \(what): \(reason)", CanaryTrial.remedy(reason, bypassed: bypassed))
        }
        guard first.namedBy != .none else {
            return (
                .failed, "the pull by \(version) arrives here, and names no registry",
                "set defaultNamespace: docker.io in the mirror's configuration"
            )
        }
        if let failure {
            return (
                .failed, "the pull by \(version) arrives here, and fails: \(CanaryTrial.oneLine(failure.reason))",
                "see the log of the runtime"
            )
        }
        let agent = first.userAgent.isEmpty ? "" : ", as \(first.userAgent)"
        return (
            .ok, "\(version) pulls through this mirror: \(CanaryTrial.naming(first)), from \(first.client)\(agent)", ""
        )
    }

    /// What the runtime does when the mirror refuses an image.
    private func refused(_ image: String, _ id: String, _ before: Int) -> Line {
        let connections = listener?.connections ?? 0
        guard let failure = failure({ () throws(RuntimeFailure) in try client.pull(image) }) else {
            client.remove(image)
            return (.failed, "an image that the mirror refuses was pulled", "see which other registry gave it")
        }
        guard (mirror.arrivals(of: id)?.count ?? 0) > before else {
            return (.warning, "the second pull did not arrive: \(CanaryTrial.oneLine(failure.reason))", "")
        }
        let text = failure.reason
        let host = registry == "docker.io" ? "registry-1.docker.io" : registry
        let bypassed =
            (listener?.connections ?? 0) > connections || text.contains("https://\(host)")
            || text.contains("lookup \(host)")
        guard bypassed else {
            return (.ok, "when the mirror refuses an image, \(version) does not pull it elsewhere", "")
        }
        return (
            .warning, "when the mirror refuses an image, \(version) asks the registry itself",
            "the mirror's rules and cooldown do not bind this machine: see docs/setup.md"
        )
    }

    private static func naming(_ arrival: CanaryArrivals.Arrival) -> String {
        let how =
            switch arrival.namedBy {
            case .ns: "ns=\(arrival.host)"
            case .prefix: "/\(arrival.host)/v2/"
            case .header: "X-Registry: \(arrival.host)"
            case .path: "/v2/\(arrival.host)/"
            case .defaultNamespace: "the default namespace \(arrival.host)"
            case .none: "no registry"
            }
        return "\(arrival.method) with \(how)"
    }

    /// A runtime's message in one line of bounded length.
    private static func oneLine(_ text: String) -> String {
        let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
        return line.count > 600 ? "\(line.prefix(600))…" : line
    }

    private static func remedy(_ reason: String, bypassed: Bool) -> String {
        if reason.contains("x509") || reason.contains("certificate") {
            return "give the runtime the mirror's certificate authority (ociregistry setup … --ca FILE)"
        }
        if reason.contains("connection refused") { return "check the address of the mirror in the runtime's files" }
        if bypassed || reason.contains("no such host") {
            return "its configuration is not in use: see the lines above, or restart the runtime"
        }
        return "see the lines above, and the log of the runtime"
    }
}
