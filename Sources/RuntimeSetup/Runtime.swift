// The container runtimes whose configuration is read and written, and what reading it finds.

/// A container runtime, or the distribution that configures one.
package enum Runtime: String, Sendable, CaseIterable {
    case containerd, podman, crio, docker, k3s
}

/// What one file, or one entry of it, says about mirrors.
package struct RuntimeFinding: Sendable, Equatable {
    package let runtime: Runtime
    /// The file, as it is found from here: below the root that was given.
    package let file: String
    /// The hosts, or `*` for every registry that has no entry of its own. Empty for a file that names none.
    package let registries: [String]
    /// As they are written, in the order in which the runtime tries them: URLs, or `host:port/path` for podman and
    /// CRI-O.
    package let mirrors: [String]
    /// Why the runtime does not use them as one would expect; nil when it does.
    package let problem: String?
    /// What to do about the problem.
    package let remedy: String?

    package init(
        runtime: Runtime, file: String, registries: [String] = [], mirrors: [String] = [], problem: String? = nil,
        remedy: String? = nil
    ) {
        self.runtime = runtime
        self.file = file
        self.registries = registries
        self.mirrors = mirrors
        self.problem = problem
        self.remedy = remedy
    }
}

/// Reads what a node's runtimes are configured to do.
package enum RuntimeConfiguration {
    /// Everything that the files of a runtime say about mirrors, in the order in which the runtime reads them. Empty
    /// when it has none. A file that cannot be read, or is invalid, is a finding with a problem.
    ///
    /// - Parameter root: the directory with the node's `etc`: `/`, or where a container has mounted it.
    package static func examine(_ runtime: Runtime, root: String) -> [RuntimeFinding] {
        let files = NodeFiles(root: root)
        return switch runtime {
        case .containerd: ContainerdExamination.findings(files)
        case .podman, .crio: RegistriesConf.findings(runtime, files)
        case .docker: DaemonJSON.findings(files)
        case .k3s: K3sRegistries.findings(files)
        }
    }
}
