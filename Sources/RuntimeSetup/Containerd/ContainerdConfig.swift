// containerd's config.toml: which directory of hosts.toml files the CRI plugin uses. Checked with containerd 1.6, 1.7,
// 2.1 and the sources of 2.2 and 2.3.

internal import Configuration
internal import Glibc

/// A config.toml with the files that it imports.
struct ContainerdConfig {
    static let path = "/etc/containerd/config.toml"
    static let hostsDirectory = "/etc/containerd/certs.d"
    /// The section of a version 2 file. containerd 2 reads it too, and takes it over into its own.
    static let ownVersion = 2
    /// Imported files are followed up to here: containerd itself has no limit.
    private static let maximumImports = 64

    /// One of the files.
    struct Source {
        let path: String
        let bytes: [UInt8]
        let document: TOMLDocument
    }

    /// The imported files follow their importer, in the order in which containerd reads them.
    let sources: [Source]
    /// Of the configuration's format: 1 where the file has none.
    let version: Int

    /// Nil when there is no file: containerd starts with its defaults.
    init?(_ files: NodeFiles) throws(Refusal) { try self.init(files, main: try files.read(Self.path)) }

    /// - Parameter main: the content of config.toml.
    init?(_ files: NodeFiles, main: [UInt8]?) throws(Refusal) {
        guard let main else { return nil }
        let first = Source(
            path: Self.path, bytes: main, document: try TOMLReader.read(main, of: files.place(of: Self.path)))
        version = Self.version(of: first) ?? 1
        var sources = [first]
        var known: Set<String> = [Self.path]
        var next = 0
        while next < sources.count {
            let importer = sources[next]
            next += 1
            for path in try Self.imports(of: importer, files) where known.insert(path).inserted {
                guard known.count <= Self.maximumImports else {
                    throw Refusal("\(files.place(of: Self.path)): imports more than \(Self.maximumImports) files")
                }
                if let source = try Self.source(path, files) { sources.append(source) }
            }
        }
        self.sources = sources
    }

    private static func source(_ path: String, _ files: NodeFiles) throws(Refusal) -> Source? {
        guard let bytes = try files.read(path) else { return nil }
        return Source(path: path, bytes: bytes, document: try TOMLReader.read(bytes, of: files.place(of: path)))
    }

    private static func version(of source: Source) -> Int? {
        if case .integer(let version)? = source.document.root["version"], version > 0 { return version }
        return nil
    }

    /// `imports`, with the names that a `*` in the last part of a path stands for.
    private static func imports(of source: Source, _ files: NodeFiles) throws(Refusal) -> [String] {
        var paths: [String] = []
        for written in source.document.root["imports"]?.strings ?? [] {
            let directory = source.path.split(separator: "/").dropLast().map { "/\($0)" }.joined()
            let path = written.hasPrefix("/") ? written : "\(directory)/\(written)"
            guard path.contains(where: { "*?[".contains($0) }) else {
                paths.append(path)
                continue
            }
            let parts = path.split(separator: "/").map(String.init)
            let folder = parts.dropLast().map { "/\($0)" }.joined()
            // containerd takes patterns of directories as well; nobody writes them.
            guard !folder.contains("*"), let pattern = parts.last else { continue }
            for name in try files.list(folder) where fnmatch(pattern, name, FNM_PERIOD) == 0 {
                paths.append("\(folder)/\(name)")
            }
        }
        return paths
    }

    // MARK: The CRI plugin

    /// Of a version, the table with `config_path`.
    static func registryTable(version: Int) -> [String] {
        switch version {
        case ...1: ["plugins", "cri", "registry"]
        case 2: ["plugins", "io.containerd.grpc.v1.cri", "registry"]
        default: ["plugins", "io.containerd.cri.v1.images", "registry"]
        }
    }

    var registryTable: [String] { Self.registryTable(version: version) }

    /// The tables in which `config_path` is set. containerd 2 takes nothing over from `plugins.cri` of version 1, and
    /// reads its own table in such a file; containerd 1 ignores that.
    var writtenTables: [[String]] { version > 1 ? [registryTable] : [registryTable, Self.registryTable(version: 3)] }

    /// Whether the CRI plugin is switched off, as in the file that Docker's packages install: only the kubelet and
    /// crictl need it.
    var isCRIDisabled: Bool {
        let names = sources.flatMap { $0.document.root["disabled_plugins"]?.strings ?? [] }
        return names.contains { ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"].contains($0) }
    }

    /// Which directories the plugin looks into.
    struct HostsDirectories {
        var paths: [String] = []
        /// The last file that decides.
        var source: Source?
        /// An imported file whose table of the plugin has no `config_path`: containerd 1 then drops that of the files
        /// before, and containerd 2 keeps it.
        var replaced: (source: Source, line: Int)?
    }

    var hostsDirectories: HostsDirectories {
        var result = HostsDirectories()
        for source in sources {
            let plugin = registryTable.dropLast()
            let written = source.document.root.value(at: registryTable + ["config_path"])?.string ?? ""
            if !written.isEmpty {
                result = HostsDirectories(
                    paths: written.split(separator: ":").map(String.init), source: source, replaced: nil)
            } else if source.path != Self.path, version < 3, source.document.root.table(at: plugin) != nil {
                result.replaced = (source, Self.line(of: Array(plugin), in: source.document))
            }
        }
        return result
    }

    /// Tables beside `config_path` that keep the CRI plugin from loading: where they are, and their name.
    var conflicts: [(source: Source, line: Int, key: String)] {
        sources.flatMap { source in
            Self.conflictingKeys(source.document.root.table(at: registryTable)).map { key in
                (source, Self.line(of: registryTable + key, in: source.document), key.joined(separator: "."))
            }
        }
    }

    /// `mirrors`, and the `tls` of a registry in `configs` (containerd 1: criconfig.ValidatePluginConfig). containerd 2
    /// has no `configs.*.tls` any more, and accepts `auth` there.
    private static func conflictingKeys(_ registry: TOMLTable?) -> [[String]] {
        guard let registry else { return [] }
        var keys: [[String]] = []
        if let mirrors = registry["mirrors"]?.table, !mirrors.isEmpty { keys.append(["mirrors"]) }
        let configs = registry["configs"]?.table
        for host in configs?.keys ?? [] where configs?[host]?.table?["tls"]?.table != nil {
            keys.append(["configs", host, "tls"])
        }
        return keys
    }

    /// The line of a key, of the first header below it, or of the nearest table above it.
    static func line(of path: [String], in document: TOMLDocument) -> Int {
        guard let last = path.last else { return 1 }
        if let header = document.headers.first(where: { $0.path.starts(with: path) }) { return header.line }
        return document.root.table(at: path.dropLast())?.place(of: last)?.line
            ?? line(of: path.dropLast(), in: document)
    }
}
