// What containerd's files say about mirrors: config.toml, and a hosts.toml for each registry.

internal import Configuration

enum ContainerdExamination {
    static func findings(_ files: NodeFiles) -> [RuntimeFinding] {
        var findings: [RuntimeFinding] = []
        var directories = [ContainerdConfig.hostsDirectory]
        do throws(Refusal) {
            if let config = try ContainerdConfig(files) {
                findings += configFindings(config, files)
                let paths = config.hostsDirectories.paths
                if !paths.isEmpty { directories = paths }
            } else if files.isDirectory(ContainerdConfig.hostsDirectory) {
                findings.append(
                    .init(
                        runtime: .containerd, file: files.place(of: ContainerdConfig.path),
                        problem: "there is no such file, so that config_path is not set: the CRI plugin of containerd"
                            + " before 2.2 ignores \(ContainerdConfig.hostsDirectory)",
                        remedy: "run 'ociregistry setup containerd', and restart containerd"))
            }
        } catch {
            findings.append(
                .init(
                    runtime: .containerd, file: files.place(of: ContainerdConfig.path), problem: error.reason,
                    remedy: "correct the file: containerd does not start with it"))
        }
        var seen: Set<String> = []
        for directory in directories { findings += hostFindings(directory, files, &seen) }
        return findings
    }

    private static func configFindings(_ config: ContainerdConfig, _ files: NodeFiles) -> [RuntimeFinding] {
        let place = files.place(of: ContainerdConfig.path)
        func finding(_ problem: String?, _ remedy: String? = nil) -> RuntimeFinding {
            .init(runtime: .containerd, file: place, problem: problem, remedy: remedy)
        }
        let directories = config.hostsDirectories
        if !directories.paths.isEmpty, let conflict = config.conflicts.first {
            return [
                finding(
                    "\(files.place(of: conflict.source.path)):\(conflict.line): \(conflict.key) beside config_path: the"
                        + " CRI plugin does not load",
                    "move it to hosts.toml files, and remove it from config.toml")
            ]
        }
        if !config.conflicts.isEmpty { return mirrorTableFindings(config, files) }
        if config.isCRIDisabled {
            return [finding("the CRI plugin is disabled (disabled_plugins): only 'ctr' and 'nerdctl' use hosts.toml")]
        }
        if let replaced = directories.replaced {
            return [
                finding(
                    "\(files.place(of: replaced.source.path)):\(replaced.line): has a table of the CRI plugin without"
                        + " config_path, which replaces that of config.toml in containerd 1",
                    "set config_path = \"\(ContainerdConfig.hostsDirectory)\" there")
            ]
        }
        if directories.paths.isEmpty {
            let table = config.registryTable.joined(separator: " . ")
            return [
                finding(
                    "config_path is not set in \(table): the CRI plugin of containerd before 2.2 ignores"
                        + " \(ContainerdConfig.hostsDirectory)",
                    "run 'ociregistry setup containerd', and restart containerd")
            ]
        }
        return [finding(nil)]
    }

    /// The `mirrors` of config.toml, which containerd has in place of hosts.toml files.
    private static func mirrorTableFindings(_ config: ContainerdConfig, _ files: NodeFiles) -> [RuntimeFinding] {
        config.sources.flatMap { source -> [RuntimeFinding] in
            let mirrors = source.document.root.value(at: config.registryTable + ["mirrors"])?.table
            return (mirrors?.keys ?? []).map { host in
                .init(
                    runtime: .containerd, file: files.place(of: source.path), registries: [host],
                    mirrors: mirrors?[host]?.table?["endpoint"]?.strings ?? [],
                    problem: "mirrors in config.toml are deprecated; containerd ignores hosts.toml files beside them",
                    remedy: "move them to hosts.toml files, remove them, and run 'ociregistry setup containerd'")
            }
        }
    }

    // MARK: hosts.toml

    private static func hostFindings(
        _ directory: String, _ files: NodeFiles, _ seen: inout Set<String>
    ) -> [RuntimeFinding] {
        do throws(Refusal) {
            var findings: [RuntimeFinding] = []
            for name in try files.list(directory) where files.isDirectory("\(directory)/\(name)") {
                // containerd takes the first directory that has the registry.
                guard seen.insert(HostsFile.registry(ofDirectory: name)).inserted else { continue }
                findings.append(hostFinding("\(directory)/\(name)", name, files))
            }
            return findings
        } catch {
            return [.init(runtime: .containerd, file: files.place(of: directory), problem: error.reason)]
        }
    }

    private static func hostFinding(_ directory: String, _ name: String, _ files: NodeFiles) -> RuntimeFinding {
        let registry = HostsFile.registry(ofDirectory: name)
        let file = files.place(of: directory + "/hosts.toml")
        do throws(Refusal) {
            guard let bytes = try files.read(directory + "/hosts.toml"), !bytes.isEmpty else {
                return .init(runtime: .containerd, file: file, registries: [registry])
            }
            let hosts = HostsFile(try TOMLReader.read(bytes, of: file))
            let problem = hosts.problem { path in
                files.exists(path.hasPrefix("/") ? path : "\(directory)/\(path)")
            }
            return .init(
                runtime: .containerd, file: file, registries: [registry], mirrors: hosts.mirrors,
                problem: problem?.problem, remedy: problem?.remedy)
        } catch {
            return .init(
                runtime: .containerd, file: file, registries: [registry], problem: error.reason,
                remedy: "correct the file: containerd pulls from the registry itself")
        }
    }
}
