// k3s: entries of `mirrors` and `configs` in registries.yaml.

internal import Configuration
internal import OCI

enum K3sSetup {
    static let authorityPath = "/etc/rancher/k3s/ociregistry-ca.pem"

    static func edit(_ edits: inout FileEdits, _ request: SetupRequest) throws(Refusal) -> SetupOutcome {
        let outcome = SetupOutcome(afterwards: [(nil, "systemctl restart k3s (on agents: k3s-agent)")])
        let path = K3sRegistries.path
        let place = edits.files.place(of: path)
        if let bytes = try edits.read(path) {
            if OwnFile.isOwn(bytes) {
                try edits.removeOwn(path)
            } else {
                try edits.set(path, try MarkedBlock.remove(from: bytes, of: place))
            }
        }
        try edits.removeOwn(authorityPath)
        guard let mirror = request.mirror else { return outcome }
        guard mirror.path.isEmpty else {
            throw Refusal("--mirror: k3s takes a path for the whole API's; give the address without \(mirror.path)")
        }
        let authority = try request.authority()
        if let authority { try edits.setOwn(authorityPath, authority) }
        let registries = request.registries.isEmpty ? ["*"] : request.registries.map(\.text)
        let isOwn = try edits.read(path) == nil
        var bytes = try edits.read(path) ?? []
        // Each is put before the others.
        for registry in registries.reversed() {
            bytes = try YAMLInsertion.insert(.mirror(mirror.description, of: registry), into: bytes, place, isOwn)
        }
        if authority != nil {
            bytes = try YAMLInsertion.insert(.authority(authorityPath, of: mirror.authority), into: bytes, place, isOwn)
        }
        if isOwn {
            try edits.setOwn(path, OwnFile.bytes([]) + bytes)
        } else {
            try edits.set(path, bytes)
        }
        return outcome
    }
}

/// One entry of registries.yaml, inserted as text so that everything else stays as it is written.
enum YAMLInsertion {
    case mirror(_ url: String, of: String)
    case authority(_ path: String, of: String)

    private var section: String {
        switch self {
        case .mirror: "mirrors"
        case .authority: "configs"
        }
    }

    private var key: String {
        switch self {
        case .mirror(_, let registry): registry
        case .authority(_, let host): host
        }
    }

    /// The lines of the entry.
    private var lines: [String] {
        switch self {
        case .mirror(let url, let registry): ["\"\(registry)\":", "  endpoint:", "    - \"\(url)\""]
        case .authority(let path, let host): ["\"\(host)\":", "  tls:", "    ca_file: \(path)"]
        }
    }

    /// The value of the entry.
    private var value: PlainYAML {
        switch self {
        case .mirror(let url, _): .mapping(["endpoint": .sequence([.scalar(url)])])
        case .authority(let path, _): .mapping(["tls": .mapping(["ca_file": .scalar(path)])])
        }
    }

    /// - Parameter isOwn: the file is `setup`'s own, which needs no marks.
    static func insert(
        _ entry: YAMLInsertion, into bytes: [UInt8], _ place: String, _ isOwn: Bool
    ) throws(Refusal) -> [UInt8] {
        let root = try K3sRegistries.read(bytes, of: place)
        let section = K3sRegistries.entries(root).first { $0.key == entry.section }
        if let present = K3sRegistries.value(entry.key, in: section?.value) {
            return try entry.insert(into: present, bytes, place, root)
        }
        let children = K3sRegistries.entries(section?.value)
        let after: [UInt8]
        if let first = children.first {
            let start = offset(ofLine: first.keyLine, in: bytes)
            let indent = String(decoding: bytes[start...].prefix { $0 == 0x20 }, as: UTF8.self)
            after = put(entry.lines, at: start, bytes, indent, isOwn)
        } else if let section {
            after = put(entry.lines, at: offset(ofLine: section.keyLine + 1, in: bytes), bytes, "  ", isOwn)
        } else {
            after = put(["\(entry.section):"] + entry.lines.map { "  " + $0 }, at: bytes.count, bytes, "", isOwn)
        }
        return try entry.checked(after, place, root) { $0.setting(entry.value, at: [entry.section, entry.key]) }
    }

    /// Into an entry that is there: as the first of its endpoints.
    private func insert(
        into present: YAMLNode, _ bytes: [UInt8], _ place: String, _ root: YAMLNode?
    ) throws(Refusal) -> [UInt8] {
        switch self {
        case .authority(let path, let host):
            guard
                case .scalar(path, _)? = K3sRegistries.value("ca_file", in: K3sRegistries.value("tls", in: present))?
                    .content
            else {
                throw Refusal(
                    "\(place):\(present.line): configs has an entry for \(host): set tls.ca_file there to \(path)"
                )
            }
            return bytes
        case .mirror(let url, let registry):
            let endpoint = K3sRegistries.value("endpoint", in: present)
            let urls = K3sRegistries.strings(endpoint)
            if urls.first == url { return bytes }
            guard case .sequence(let items)? = endpoint?.content, let first = items.first, !urls.contains(url) else {
                throw Refusal("\(place):\(present.line): make \(url) the first endpoint of \(registry) by hand")
            }
            let start = Self.offset(ofLine: first.line, in: bytes)
            let indent = String(decoding: bytes[start...].prefix { $0 == 0x20 }, as: UTF8.self)
            let after = Self.put(["- \"\(url)\""], at: start, bytes, indent, false)
            let value = PlainYAML.sequence(([url] + urls).map { .scalar($0) })
            return try checked(after, place, root) { $0.setting(value, at: ["mirrors", registry, "endpoint"]) }
        }
    }

    private func checked(
        _ after: [UInt8], _ place: String, _ before: YAMLNode?, _ expected: (PlainYAML) -> PlainYAML?
    ) throws(Refusal) -> [UInt8] {
        let was = before.map(PlainYAML.init) ?? .mapping([:])
        guard let read = try? YAMLReader.read(after), let wanted = expected(was), PlainYAML(read) == wanted else {
            throw Refusal(
                "\(place): is written in a way that setup does not change: add to \(section) by hand: "
                    + lines.joined(separator: " ")
            )
        }
        return after
    }

    private static func put(_ lines: [String], at offset: Int, _ bytes: [UInt8], _ indent: String, _ isOwn: Bool)
        -> [UInt8]
    {
        guard isOwn else { return MarkedBlock.insert(lines, at: offset, into: bytes, indent: indent) }
        return bytes[..<offset] + Array(lines.map { indent + $0 + "\n" }.joined().utf8) + bytes[offset...]
    }

    /// Where a line (from 1) begins; the end of the text for the line behind the last.
    private static func offset(ofLine line: Int, in bytes: [UInt8]) -> Int {
        var offset = 0
        for _ in 1..<max(line, 1) {
            guard let end = bytes[offset...].firstIndex(of: 0x0A) else { return bytes.count }
            offset = end + 1
        }
        return offset
    }
}

/// YAML without lines and styles, to compare what is read before and after a change.
enum PlainYAML: Equatable {
    case null
    case scalar(String)
    case sequence([PlainYAML])
    case mapping([String: PlainYAML])

    init(_ node: YAMLNode) {
        switch node.content {
        case .scalar(let text, _): self = node.isNull ? .null : .scalar(text)
        case .sequence(let items): self = .sequence(items.map(PlainYAML.init))
        case .mapping(let entries):
            self = .mapping(Dictionary(entries.map { ($0.key, PlainYAML($0.value)) }) { first, _ in first })
        }
    }

    /// The same with another value at a path of mappings, which are made where they are missing or null.
    func setting(_ value: PlainYAML, at path: [String]) -> PlainYAML? {
        guard let first = path.first else { return value }
        var entries: [String: PlainYAML]
        switch self {
        case .null: entries = [:]
        case .mapping(let known): entries = known
        default: return nil
        }
        entries[first] = (entries[first] ?? .null).setting(value, at: Array(path.dropFirst()))
        return .mapping(entries)
    }
}
