// containerd's hosts.toml, as core/remotes/docker/config/hosts.go reads it.

/// The mirrors of one registry.
struct HostsFile {
    private let root: TOMLTable
    /// The URLs in the order of their headers; containerd 1.7 and later ignores a host that has no header.
    let mirrors: [String]

    init(_ document: TOMLDocument) {
        root = document.root
        var urls: [String] = []
        var known: Set<String> = []
        for header in document.headers where header.path.count >= 2 && header.path[0] == "host" {
            if known.insert(header.path[1]).inserted { urls.append(header.path[1]) }
        }
        mirrors = urls
    }

    /// The registry that a directory is for: `*` for `_default`, `host:port` for `host_port_`.
    static func registry(ofDirectory name: String) -> String {
        if name == "_default" { return "*" }
        guard name.hasSuffix("_"), let mark = name.dropLast().lastIndex(of: "_") else { return name }
        return name[..<mark] + ":" + name[name.index(after: mark)...].dropLast()
    }

    /// What keeps containerd from pulling through the mirrors.
    func problem(exists: (String) -> Bool) -> (problem: String, remedy: String)? {
        guard !mirrors.isEmpty else {
            return root["server"]?.string == nil
                ? ("has no [host.\"URL\"] table, and so no mirror", "run 'ociregistry setup containerd'") : nil
        }
        for url in mirrors {
            guard let host = root["host"]?.table?[url]?.table else { continue }
            if let written = host["capabilities"], written != .array([]) {
                let names = (written.strings ?? []).map { $0.lowercased() }
                for need in ["pull", "resolve"] where !names.contains(need) {
                    return (
                        "\(url) has no capability \"\(need)\""
                            + (need == "resolve" ? ": tags are asked of the registry itself" : ""),
                        "set capabilities = [\"pull\", \"resolve\"] there"
                    )
                }
            }
            let authorities = host["ca"]?.string.map { [$0] } ?? host["ca"]?.strings ?? []
            for path in authorities where !exists(path) {
                return (
                    "the certificate authority \(path) of \(url) is missing", "put the file there, or run setup again"
                )
            }
        }
        return nil
    }
}
