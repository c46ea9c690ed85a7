// registries.conf of podman, CRI-O and other users of containers/image, as its pkg/sysregistriesv2 reads it.

internal import Configuration

/// The files of registries.conf in the order in which they are read. An entry replaces all of an earlier one with the
/// same prefix.
struct RegistriesConf {
    static let path = "/etc/containers/registries.conf"
    static let directory = "/etc/containers/registries.conf.d"

    /// A `[[registry]]`.
    struct Entry {
        /// The node's path of its file.
        let file: String
        let line: Int
        let prefix: String
        /// Locations, without a scheme.
        let mirrors: [String]
        let problem: String?
    }

    var entries: [Entry] = []
    /// In the old format: the file, and where it says so.
    var version1: (file: String, line: Int)?

    /// The files there are.
    static func paths(_ files: NodeFiles) throws(Refusal) -> [String] {
        let names = try files.list(directory).filter { $0.hasSuffix(".conf") }
        return [path] + names.map { "\(directory)/\($0)" }
    }

    mutating func add(_ path: String, _ document: TOMLDocument) {
        if let old = document.root["registries"]?.table, !old.isEmpty {
            version1 = (path, ContainerdConfig.line(of: ["registries"], in: document))
        }
        let headers = document.headers.filter { $0.path == ["registry"] }
        for (index, table) in (document.root["registry"]?.tables ?? []).enumerated() {
            let location = table["location"]?.string ?? ""
            let mirrors = table["mirror"]?.tables ?? []
            entries.append(
                .init(
                    file: path, line: index < headers.count ? headers[index].line : 1,
                    prefix: Self.trimmed(table["prefix"]?.string ?? location),
                    mirrors: mirrors.compactMap { $0["location"]?.string }, problem: Self.problem(table, mirrors)))
        }
    }

    private static func trimmed(_ location: String) -> String {
        var location = location[...]
        while location.hasSuffix("/") { location.removeLast() }
        return String(location)
    }

    private static func problem(_ table: TOMLTable, _ mirrors: [TOMLTable]) -> String? {
        if table["blocked"] == .boolean(true) { return "is blocked: nothing is pulled" }
        if table["mirror-by-digest-only"] == .boolean(true)
            || mirrors.first?["pull-from-mirror"] == .string("digest-only")
        {
            return "its mirror is used for digests only: tags are asked of the registry itself"
        }
        return nil
    }

    // MARK: Findings

    static func findings(_ runtime: Runtime, _ files: NodeFiles) -> [RuntimeFinding] {
        var conf = RegistriesConf()
        var findings: [RuntimeFinding] = []
        do throws(Refusal) {
            for path in try paths(files) {
                do throws(Refusal) {
                    guard let bytes = try files.read(path) else { continue }
                    conf.add(path, try TOMLReader.read(bytes, of: files.place(of: path)))
                } catch {
                    findings.append(
                        .init(
                            runtime: runtime, file: files.place(of: path), problem: error.reason,
                            remedy: "correct the file: \(runtime.rawValue) reads no registries.conf with an error in it"
                        ))
                }
            }
        } catch {
            return [.init(runtime: runtime, file: files.place(of: directory), problem: error.reason)]
        }
        if let old = conf.version1 {
            findings.append(
                .init(
                    runtime: runtime, file: files.place(of: old.file),
                    problem: "\(files.place(of: old.file)):\(old.line): registries is of the first format, which has no"
                        + " mirrors",
                    remedy: "write unqualified-search-registries and [[registry]] tables in its place"))
        }
        let used = Dictionary(conf.entries.map { ($0.prefix, $0) }) { _, last in last }
        for entry in conf.entries {
            // An error in one file has them all ignored, and is reported above.
            let later = used[entry.prefix].flatMap { $0.file == entry.file ? nil : $0 }
            findings.append(
                .init(
                    runtime: runtime, file: files.place(of: entry.file), registries: [entry.prefix],
                    mirrors: entry.mirrors,
                    problem: later.map { "is replaced by \(files.place(of: $0.file)), which is read later" }
                        ?? entry.problem,
                    remedy: later.map { _ in "keep one of the two" }))
        }
        return findings
    }
}
