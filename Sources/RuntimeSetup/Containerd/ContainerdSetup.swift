// containerd: a hosts.toml for each registry, or one for all, and `config_path` so that the CRI plugin looks for them.

internal import Configuration
internal import OCI

enum ContainerdSetup {
    /// `.crt` would be taken for a certificate of the registry where hosts.toml is missing.
    static let authorityName = "ociregistry-ca.pem"

    static func edit(_ edits: inout FileEdits, _ request: SetupRequest) throws(Refusal) -> SetupOutcome {
        var directories = [ContainerdConfig.hostsDirectory]
        var outcome = SetupOutcome(afterwards: [(ContainerdConfig.path, "systemctl restart containerd")])
        var config: ContainerdConfig?
        if !request.hostsOnly {
            try ContainerdConfigEdit.remove(&edits)
            // Imports are read from disk: setup writes none of them.
            config = try ContainerdConfig(edits.files, main: try edits.read(ContainerdConfig.path))
            if let first = config?.hostsDirectories.paths.first, !directories.contains(first) {
                directories.append(first)
            }
        }
        for directory in directories { try removeHosts(&edits, directory) }
        guard let mirror = request.mirror else { return outcome }
        let directory = directories.last ?? ContainerdConfig.hostsDirectory
        let authority = try request.authority()
        let registries = request.registries.map(\.text)
        for registry in registries.isEmpty ? ["_default"] : registries {
            let place = hostDirectory(directory, registry, edits.files)
            if let authority { try edits.setOwn("\(place)/\(authorityName)", authority) }
            try HostsFileEdit.insert(&edits, place, registry, mirror, hasAuthority: authority != nil)
        }
        if registries.isEmpty { outcome.notes += try registriesBesideDefault(&edits, directory) }
        if !request.hostsOnly {
            outcome.notes += try ContainerdConfigEdit.insert(&edits, config, directory)
        }
        return outcome
    }

    /// The directory of a registry: that with `_port_` comes first where there are both.
    private static func hostDirectory(_ directory: String, _ registry: String, _ files: NodeFiles) -> String {
        if let colon = registry.lastIndex(of: ":") {
            let escaped = "\(directory)/\(registry[..<colon])_\(registry[registry.index(after: colon)...])_"
            if files.isDirectory(escaped) { return escaped }
        }
        return "\(directory)/\(registry)"
    }

    private static func removeHosts(_ edits: inout FileEdits, _ directory: String) throws(Refusal) {
        for name in try edits.files.list(directory) where edits.files.isDirectory("\(directory)/\(name)") {
            let place = "\(directory)/\(name)"
            try HostsFileEdit.remove(&edits, place)
            try edits.removeOwn("\(place)/\(authorityName)", directory: place)
        }
    }

    private static func registriesBesideDefault(
        _ edits: inout FileEdits, _ directory: String
    ) throws(Refusal) -> [String] {
        let names = try edits.files.list(directory).filter { name in
            name != "_default" && edits.files.isDirectory("\(directory)/\(name)")
        }
        var others: [String] = []
        for name in names {
            // One that is about to be removed does not count.
            let isOwn = OwnFile.isOwn(try edits.files.read("\(directory)/\(name)/hosts.toml"))
            if !isOwn { others.append(HostsFile.registry(ofDirectory: name)) }
        }
        guard !others.isEmpty else { return [] }
        return [
            "containerd does not use _default for registries that have a directory of their own:"
                + " \(others.joined(separator: ", ")). To cover them too, name every registry with --registry."
        ]
    }
}

/// Edits hosts.toml files.
enum HostsFileEdit {
    /// What a connection to the mirror may take before containerd tries the next host. containerd knows it since 2.1,
    /// waits for 30 s otherwise, and ignores a key that it does not know.
    static let dialTimeout = "2s"

    static func remove(_ edits: inout FileEdits, _ directory: String) throws(Refusal) {
        let path = directory + "/hosts.toml"
        guard let bytes = try edits.read(path) else { return }
        if OwnFile.isOwn(bytes) { return try edits.removeOwn(path, directory: directory) }
        try edits.set(path, try MarkedBlock.remove(from: bytes, of: edits.files.place(of: path)))
    }

    static func insert(
        _ edits: inout FileEdits, _ directory: String, _ registry: String, _ mirror: MirrorURL, hasAuthority: Bool
    ) throws(Refusal) {
        let path = directory + "/hosts.toml"
        let place = edits.files.place(of: path)
        var table = [
            "[host.\"\(mirror)\"]", "capabilities = [\"pull\", \"resolve\"]", "dial_timeout = \"\(dialTimeout)\"",
        ]
        if hasAuthority { table.append("ca = \"\(ContainerdSetup.authorityName)\"") }
        guard let bytes = try edits.read(path) else {
            try refuseCertificates(edits.files, directory)
            let server = registry == "docker.io" ? ["server = \"https://registry-1.docker.io\""] : []
            return try edits.setOwn(path, OwnFile.bytes(server + [""] + table))
        }
        let document = try TOMLReader.read(bytes, of: place)
        let mirrors = HostsFile(document).mirrors
        if mirrors.first == mirror.description { return }
        guard !mirrors.contains(mirror.description) else {
            let line = ContainerdConfig.line(of: ["host", mirror.description], in: document)
            throw Refusal(
                "\(place):\(line): has \(mirror) already, but not as its first host: move that table to the top")
        }
        let header = document.headers.first { $0.path.first == "host" }
        let offset = header.map { startOfComments(above: $0.start, in: bytes) } ?? bytes.count
        let after = MarkedBlock.insert(table, at: offset, into: bytes)
        guard let read = try? TOMLReader.read(after, of: place),
            HostsFile(read).mirrors == [mirror.description] + mirrors,
            read.root.equals(document.root, except: ["host", mirror.description])
        else {
            throw Refusal(
                "\(place): no place for another [host] table before the first; write it there by hand: \(table[0])")
        }
        try edits.set(path, after)
    }

    /// The certificates of a directory without hosts.toml are the registry's own, and are ignored beside one.
    private static func refuseCertificates(_ files: NodeFiles, _ directory: String) throws(Refusal) {
        let names = try files.list(directory).filter { name in
            [".crt", ".cert", ".key"].contains { name.hasSuffix($0) }
        }
        guard let name = names.first else { return }
        throw Refusal(
            "\(files.place(of: "\(directory)/\(name)")): containerd ignores certificates beside a hosts.toml: write a"
                + " hosts.toml there that names them (ca, client), and run setup again")
    }

    /// The comment lines directly above belong to the table.
    private static func startOfComments(above start: Int, in bytes: [UInt8]) -> Int {
        var start = start
        while start > 0 {
            let above = bytes[..<(start - 1)].lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
            guard bytes[above..<start].first(where: { $0 != 0x20 && $0 != 0x09 }) == 0x23 else { break }
            start = above
        }
        return start
    }
}
