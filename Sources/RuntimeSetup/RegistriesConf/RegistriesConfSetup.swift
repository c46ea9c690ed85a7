// podman and CRI-O: one file in registries.conf.d with a block for each registry. containers/image has no entry for
// all registries: a prefix is a name, or `*.` with a domain.

internal import Configuration
internal import OCI

enum RegistriesConfSetup {
    static let path = RegistriesConf.directory + "/50-ociregistry.conf"
    private static let certificates = "/etc/containers/certs.d"
    private static let certificateName = "ca.crt"

    /// Without --registry: the public registries that images are usually pulled from.
    static let usualRegistries = [
        "docker.io", "gcr.io", "ghcr.io", "mcr.microsoft.com", "nvcr.io", "public.ecr.aws", "quay.io",
        "registry.fedoraproject.org", "registry.gitlab.com", "registry.k8s.io", "registry.opensuse.org",
    ]

    static func edit(_ edits: inout FileEdits, _ request: SetupRequest) throws(Refusal) -> SetupOutcome {
        var outcome = SetupOutcome()
        if request.runtime == .crio { outcome.afterwards = [(path, "systemctl reload crio")] }
        try edits.removeOwn(path)
        for name in try edits.files.list(certificates) where edits.files.isDirectory("\(certificates)/\(name)") {
            try edits.removeOwn("\(certificates)/\(name)/\(certificateName)", directory: "\(certificates)/\(name)")
        }
        guard let mirror = request.mirror else { return outcome }
        guard mirror.path.isEmpty else {
            throw Refusal(
                "--mirror: \(request.runtime.rawValue) puts a path behind /v2, where the mirror expects the registry;"
                    + " give the address without \(mirror.path)")
        }
        let registries = request.registries.isEmpty ? usualRegistries : request.registries.map(\.text)
        outcome.notes += try check(registries, request.runtime, edits.files)
        let host = host(of: mirror)
        if let authority = try request.authority() {
            try edits.setOwn("\(certificates)/\(host)/\(certificateName)", authority)
        }
        var lines: [String] = []
        for registry in registries {
            lines += [
                "", "[[registry]]", "prefix = \"\(registry)\"", "location = \"\(registry)\"", "", "[[registry.mirror]]",
                "location = \"\(host)/\(registry)\"",
            ]
            if mirror.isPlain { lines.append("insecure = true") }
        }
        try edits.setOwn(path, OwnFile.bytes(lines))
        if request.registries.isEmpty {
            outcome.notes.append(
                "Covered: \(usualRegistries.joined(separator: ", ")). There is no entry for all registries; name"
                    + " others, and those of them that you want, with --registry.")
        }
        return outcome
    }

    /// The host as it begins a location: a name without a dot needs a port there, or it is taken for a part of a
    /// repository of docker.io.
    private static func host(of mirror: MirrorURL) -> String {
        let isHost = mirror.authority == "localhost" || mirror.authority.contains { $0 == "." || $0 == ":" }
        return isHost ? mirror.authority : mirror.authority + (mirror.isPlain ? ":80" : ":443")
    }

    /// Refuses a registry that another file has an entry for: the last file that is read has all of it.
    /// - Returns: what one should know about the other files.
    private static func check(
        _ registries: [String], _ runtime: Runtime, _ files: NodeFiles
    ) throws(Refusal) -> [String] {
        var conf = RegistriesConf()
        for other in try RegistriesConf.paths(files) where other != path {
            guard let bytes = try files.read(other) else { continue }
            conf.add(other, try TOMLReader.read(bytes, of: files.place(of: other)))
        }
        if let entry = conf.entries.first(where: { registries.contains($0.prefix) }) {
            let isLater =
                entry.file != RegistriesConf.path && entry.file.utf8.lexicographicallyPrecedes(path.utf8) == false
            throw Refusal(
                "\(files.place(of: entry.file)):\(entry.line): has an entry for \(entry.prefix) already, and "
                    + (isLater
                        ? "is read after \(files.place(of: path)): its entry would be used"
                        : "is read before \(files.place(of: path)): its entry would be ignored")
                    + ". Add the mirror there by hand, or remove that entry, or name the other registries with"
                    + " --registry")
        }
        let special = conf.entries.filter { entry in registries.contains { entry.prefix.hasPrefix("\($0)/") } }
        return special.map {
            "\(files.place(of: $0.file)):\($0.line) has an entry for \($0.prefix), whose images do not go through the"
                + " mirror."
        }
    }
}
