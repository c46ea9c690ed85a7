// Decodes a YAML tree by a table of keys. The tables (in ConfigDecoder and RegistryDecoder) are the only list of valid
// keys: they decode the file and detect misspelt keys, and a test compares docs/configuration.md with them.

/// One key of a mapping, and how its value changes the target.
struct ConfigKey<Target> {
    let name: String
    /// The keys below it, as dotted paths; only for the list of all keys.
    var children: [String] = []
    /// A `Refusal` thrown here is reported at the key.
    let apply: (ConfigValue, inout Target) throws(Refusal) -> Void

    /// The paths of this key and of those below it.
    var paths: [String] { [name] + children.map { $0.hasPrefix("[") ? name + $0 : "\(name).\($0)" } }
}

/// The files that a configuration names, by what they hold.
package enum NamedFile: Sendable {
    case authorities, certificate, privateKey, password, dockerConfig

    /// The reason why a file's content cannot be used; nil when it can.
    package typealias Inspection = (_ kind: NamedFile, _ path: String) -> String?
}

/// Collects problems, so that all of them are reported at once.
final class ConfigReader {
    let file: String
    /// With its closing slash; empty when `file` is in the working directory.
    let directory: String
    /// A variable's value; nil when it is not set.
    let environment: (String) -> String?
    /// Says what is wrong with the content of a file that the configuration names.
    let inspect: NamedFile.Inspection?
    private(set) var problems: [ConfigError.Problem] = []
    /// Variables whose values are secrets of the configuration.
    private(set) var secretVariables: Set<String> = []

    init(file: String, environment: @escaping (String) -> String?, inspect: NamedFile.Inspection? = nil) {
        self.file = file
        self.environment = environment
        self.inspect = inspect
        directory = file.lastIndex(of: "/").map { String(file[...$0]) } ?? ""
    }

    /// The value of a variable that holds a secret; nil when it is not set or empty.
    func secret(_ variable: String) -> String? {
        secretVariables.insert(variable)
        return environment(variable).flatMap { $0.isEmpty ? nil : $0 }
    }

    func report(_ reason: String, line: Int, key: String) {
        problems.append(.init(file: file, line: line, key: key, reason: reason))
    }
}

/// A node with its place in the file, and the reader that collects its problems.
struct ConfigValue {
    let reader: ConfigReader
    let node: YAMLNode
    /// The key's line, which may be above the value's.
    let line: Int
    /// A dotted path; empty for the whole document.
    let path: String

    func report(_ reason: String) { reader.report(reason, line: line, key: path) }

    /// The value of one key of this mapping; nil when the key is absent.
    func child(_ key: String) -> ConfigValue? {
        guard case .mapping(let entries) = node.content, let entry = entries.first(where: { $0.key == key }) else {
            return nil
        }
        return value(of: entry)
    }

    /// Whether a key of this mapping has a value, valid or not.
    func isSet(_ key: String) -> Bool { child(key).map { !$0.node.isEmpty } ?? false }

    private func value(of entry: YAMLNode.Entry) -> ConfigValue {
        ConfigValue(
            reader: reader, node: entry.value, line: entry.keyLine,
            path: path.isEmpty ? entry.key : "\(path).\(entry.key)")
    }
}

// MARK: - Scalars

extension ConfigValue {
    /// Sets `target` by `rule`; a key without a value keeps the default.
    func assign<T>(_ rule: (String) throws(Refusal) -> T, to target: inout T) throws(Refusal) {
        if !node.isNull { target = try rule(try text()) }
    }

    /// Sets `target` as `assign` does, but an empty text keeps the default too (as in the reference).
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
    /// The value of an environment variable, checked as a token.
    func token(fromVariable name: String) throws(Refusal) -> Secret {
        guard let text = reader.secret(name) else {
            throw Refusal("the environment variable \(ConfigRules.shown(name)) is not set")
        }
        return try ConfigRules.token(text)
    }
}

// MARK: - Lists and mappings

extension ConfigValue {
    /// Applies `keys` to this mapping; reports unknown keys and refused values.
    /// - Throws: when the value is not a mapping.
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

/// The number of single-character changes between two words (Levenshtein).
enum EditDistance {
    /// Two typing errors; three changes can turn one short key into another.
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
