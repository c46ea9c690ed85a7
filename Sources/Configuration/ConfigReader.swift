// Walking a YAML tree by a table of keys. The tables (in ConfigDecoder and RegistryDecoder) are the one list of what
// may stand in a configuration file: they decode it, they find what is misspelt, and docs/configuration.md is tested
// against them.

/// One key of a mapping, and what its value does to the thing being built.
struct ConfigKey<Target> {
    let name: String
    /// The keys below it, as dotted paths; only for the list of all keys.
    var children: [String] = []
    /// A `Refusal` thrown here is reported at the key.
    let apply: (ConfigValue, inout Target) throws(Refusal) -> Void

    /// This key and those below it.
    var paths: [String] { [name] + children.map { $0.hasPrefix("[") ? name + $0 : "\(name).\($0)" } }
}

/// Collects problems, so that all of them are reported at once.
final class ConfigReader {
    let file: String
    /// With its closing slash; empty when `file` is in the working directory.
    let directory: String
    /// A variable's value, nil when it is not set.
    let environment: (String) -> String?
    private(set) var problems: [ConfigError.Problem] = []

    init(file: String, environment: @escaping (String) -> String?) {
        self.file = file
        self.environment = environment
        directory = file.lastIndex(of: "/").map { String(file[...$0]) } ?? ""
    }

    func report(_ reason: String, line: Int, key: String) {
        problems.append(.init(file: file, line: line, key: key, reason: reason))
    }
}

/// A node, where it stands, and where complaints about it go.
struct ConfigValue {
    let reader: ConfigReader
    let node: YAMLNode
    /// The key's line, which may be above the value's.
    let line: Int
    /// A dotted path; empty for the whole document.
    let path: String

    func report(_ reason: String) { reader.report(reason, line: line, key: path) }

    /// The value of one key of this mapping; nil when the key is not there.
    func child(_ key: String) -> ConfigValue? {
        guard case .mapping(let entries) = node.content, let entry = entries.first(where: { $0.key == key }) else {
            return nil
        }
        return value(of: entry)
    }

    /// Whether a key of this mapping holds something, be it right or wrong.
    func isSet(_ key: String) -> Bool { child(key).map { !$0.node.isEmpty } ?? false }

    private func value(of entry: YAMLNode.Entry) -> ConfigValue {
        ConfigValue(
            reader: reader, node: entry.value, line: entry.keyLine,
            path: path.isEmpty ? entry.key : "\(path).\(entry.key)")
    }
}

// MARK: - Scalars

extension ConfigValue {
    /// Sets `target` by `rule`; a key without a value leaves the default.
    func assign<T>(_ rule: (String) throws(Refusal) -> T, to target: inout T) throws(Refusal) {
        if !node.isNull { target = try rule(try text()) }
    }

    /// The same where an empty text, too, means that nothing was set (it does in the reference).
    func assignUnlessEmpty<T>(_ rule: (String) throws(Refusal) -> T, to target: inout T) throws(Refusal) {
        if node.content != .scalar("", isPlain: false) { try assign(rule, to: &target) }
    }

    func text() throws(Refusal) -> String {
        switch node.content {
        case .scalar(let text, _): return text
        case .sequence: throw Refusal("must be a single value, not a list")
        case .mapping: throw Refusal("must be a single value, not a mapping")
        }
    }
}

extension ConfigValue {
    /// What an environment variable holds, as a token.
    func token(fromVariable name: String) throws(Refusal) -> Secret {
        guard let text = reader.environment(name), !text.isEmpty else {
            throw Refusal("the environment variable \(ConfigRules.shown(name)) is not set")
        }
        return try ConfigRules.token(text)
    }
}

// MARK: - Lists and mappings

extension ConfigValue {
    /// Applies `keys` to what stands in this mapping; reports unknown keys and refused values.
    /// - Throws: when it is no mapping.
    func decode<Target>(_ keys: [ConfigKey<Target>], into target: inout Target) throws(Refusal) {
        if node.isNull { return }
        guard case .mapping(let entries) = node.content else {
            throw Refusal("must be a mapping of keys to values")
        }
        for entry in entries {
            let value = value(of: entry)
            guard let key = keys.first(where: { $0.name == entry.key }) else {
                value.report("unknown key" + Self.suggestion(for: entry.key, among: keys.map(\.name)))
                continue
            }
            do throws(Refusal) { try key.apply(value, &target) } catch { value.report(error.reason) }
        }
    }

    /// The items of a list, as `path[0]`, `path[1]` …
    func items() throws(Refusal) -> [ConfigValue] {
        if node.isNull { return [] }
        guard case .sequence(let nodes) = node.content else { throw Refusal("must be a list") }
        return nodes.enumerated().map { index, node in
            ConfigValue(reader: reader, node: node, line: node.line, path: "\(path)[\(index)]")
        }
    }

    private static func suggestion(for word: String, among names: [String]) -> String {
        let ranked = names.map { (name: $0, distance: EditDistance.between(word.lowercased(), $0.lowercased())) }
        guard let best = ranked.min(by: { $0.distance < $1.distance }),
            best.distance <= EditDistance.maximumForSuggestion
        else { return "" }
        return "; did you mean \(best.name)?"
    }
}

/// How many single-character changes lie between two words (Levenshtein).
enum EditDistance {
    /// Two slips of the finger; three changes make another word of a short key.
    static let maximumForSuggestion = 2

    static func between(_ a: String, _ b: String) -> Int {
        let (a, b) = (Array(a.unicodeScalars.prefix(64)), Array(b.unicodeScalars.prefix(64)))
        var row = Array(0...b.count)
        for i in a.indices {
            var diagonal = row[0]
            row[0] = i + 1
            for j in b.indices {
                let changed = diagonal + (a[i] == b[j] ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(changed, row[j] + 1, row[j + 1] + 1)
            }
        }
        return row[b.count]
    }
}
