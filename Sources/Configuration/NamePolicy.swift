// The rules on names: `deny`, `registriesOnly` and `allow`, and the decision about one name. Matching is bounded by
// `Expression`, but may take milliseconds for each expression: a server decides off the loop.

package import OCI

/// The rule of the configuration that a name does not meet.
package enum NameRule: Sendable, Hashable {
    case deny, allow, registriesOnly
}

/// Whether images of a repository may be pulled.
package enum NameDecision: Sendable, Hashable {
    case allowed
    /// `rule` is text for people, such as `deny[0] 'evil/'`. Its length is bounded.
    case denied(by: NameRule, rule: String)
}

/// One expression of `allow`, `deny` or `tagPolicies`: a single PCRE2 expression, in which a comma is an ordinary
/// character.
package struct NameExpression: Sendable, Equatable {
    /// Most expressions in one list; each is matched against each new name.
    package static let maximumCount = 256
    /// Characters of an expression in a message, which a client sees.
    private static let maximumShown = 100

    fileprivate let expression: Expression

    /// - Throws: when the expression is empty or does not compile.
    init(_ source: String, _ extent: Expression.Extent) throws(PatternError) {
        guard source.utf8.count <= Pattern.maximumBytes else { throw .tooLong(limit: "\(Pattern.maximumBytes) bytes") }
        guard !source.isEmpty else { throw .empty(pattern: source) }
        expression = try Expression(source, extent)
    }

    package static func == (one: NameExpression, other: NameExpression) -> Bool {
        one.expression.source == other.expression.source && one.expression.extent == other.expression.extent
    }

    /// The expression in quotes, on one line and of bounded length.
    var shown: String {
        let scalars = expression.source.unicodeScalars
        let visible = scalars.prefix(NameExpression.maximumShown).map { scalar in
            scalar.properties.generalCategory == .control ? "?" : String(scalar)
        }
        return "'\(visible.joined())\(scalars.count > NameExpression.maximumShown ? "…" : "")'"
    }
}

/// The rules on names of one configuration.
package struct NamePolicy: Sendable, Equatable {
    private let deny: [NameExpression]
    private let allow: [NameExpression]
    /// The registries that may be asked; nil: all.
    private let registries: [RegistryPattern]?
    private let entries: RegistryEntries
    /// Whether nothing is configured, so that every name is allowed.
    package let isOpen: Bool

    /// - Parameter registries: the only registries that may be asked; nil: all.
    package init(
        deny: [NameExpression] = [], allow: [NameExpression] = [], registriesOnly registries: [RegistryConfig]?
    ) {
        self.deny = deny
        self.allow = allow
        self.registries = registries?.map(\.name)
        entries = RegistryEntries(registries ?? [])
        isOpen = deny.isEmpty && allow.isEmpty && registries == nil
    }

    /// A policy that allows every name.
    package init() { self.init(registriesOnly: nil) }

    package static func == (one: NamePolicy, other: NamePolicy) -> Bool {
        one.deny == other.deny && one.allow == other.allow && one.registries == other.registries
    }

    /// Decides about a repository. Must run off the loop.
    package func decide(host: RegistryHost, repository: RepositoryName) -> NameDecision {
        evaluate(host, repository).decision
    }

    /// The decision in words, with the rule that made it.
    package func explanation(host: RegistryHost, repository: RepositoryName) -> String {
        if isOpen { return "allowed: no allow, deny or registriesOnly is configured" }
        let (decision, reason) = evaluate(host, repository)
        return (decision == .allowed ? "allowed: " : "denied: ") + reason
    }

    private func evaluate(_ host: RegistryHost, _ repository: RepositoryName) -> (
        decision: NameDecision, reason: String
    ) {
        func denied(_ rule: NameRule, _ reason: String) -> (NameDecision, String) {
            (.denied(by: rule, rule: reason), reason)
        }
        let name = "\(host)/\(repository)"
        for (index, pattern) in deny.enumerated() {
            for spelling in [name] + NamePolicy.spellings(of: host, repository) {
                switch pattern.match(spelling) {
                case .matches: return denied(.deny, "deny[\(index)] \(pattern.shown)")
                case .unknown(let reason): return denied(.deny, "deny[\(index)] \(pattern.shown) \(reason)")
                case .differs: break
                }
            }
        }
        var reason = "no expression of deny matches"
        if registries != nil {
            guard let entry = entries.index(for: host) else {
                return denied(.registriesOnly, "registriesOnly: no entry of registries names it")
            }
            reason = "registries[\(entry)] names its registry"
        }
        guard !allow.isEmpty else { return (.allowed, reason) }
        for (index, pattern) in allow.enumerated() {
            switch pattern.match(name) {
            case .matches: return (.allowed, "allow[\(index)] \(pattern.shown)")
            case .unknown(let reason): return denied(.allow, "allow[\(index)] \(pattern.shown) \(reason)")
            case .differs: break
            }
        }
        return denied(.allow, "no expression of allow matches")
    }

    /// Other spellings of a name that lead to the same registry: the port of https can be written or left out, and
    /// must not take a name out of `deny`.
    private static func spellings(of host: RegistryHost, _ repository: RepositoryName) -> [String] {
        guard host.port == 443, let plain = RegistryHost(host.name) else { return [] }
        return ["\(plain)/\(repository)"]
    }
}

extension NameExpression {
    enum Match {
        case matches, differs
        /// The match met a limit, or failed: its result is unknown. The text says why.
        case unknown(String)
    }

    func match(_ name: String) -> Match {
        var copy = name
        return copy.withUTF8 { bytes in
            do throws(PatternError) {
                return try expression.matches(UnsafeRawBufferPointer(bytes)) ? .matches : .differs
            } catch {
                if case .limit = error { return .unknown("meets its match limit") }
                return .unknown("cannot be matched")
            }
        }
    }
}

extension Config {
    /// The rules on names.
    package var namePolicy: NamePolicy {
        NamePolicy(deny: deny, allow: allow, registriesOnly: registriesOnly ? registries : nil)
    }
}

/// The keys of this file, for ConfigDecoder.
enum NameRuleKeys {
    /// Why `allow` without an expression is refused.
    static let emptyAllow = "would deny everything; leave the key out"
    /// Why `registriesOnly` without an entry is refused.
    static let noRegistries = "would deny everything: registries has no entry"

    static var all: [ConfigKey<Config>] {
        [
            .init(name: "allow") { value, config throws(Refusal) in
                config.allow = try value.expressions(.whole)
                // An empty value is what remains of a list whose items are commented out.
                if value.node.isEmpty { throw Refusal(emptyAllow) }
            },
            .init(name: "deny") { value, config throws(Refusal) in
                config.deny = try value.expressions(.anywhere)
                if value.node.isNull { throw Refusal("is empty: remove the key, or write [] to deny nothing") }
            },
            .init(name: "registriesOnly") { value, config throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &config.registriesOnly)
            },
        ]
    }
}

extension ConfigValue {
    /// A list of expressions. An invalid one is reported at its own place.
    fileprivate func expressions(_ extent: Expression.Extent) throws(Refusal) -> [NameExpression] {
        if node.isNull { return [] }
        guard case .sequence(let nodes) = node.content else { throw Refusal("must be a list of expressions") }
        guard nodes.count <= NameExpression.maximumCount else {
            throw Refusal("must have at most \(NameExpression.maximumCount) expressions, not \(nodes.count)")
        }
        var expressions: [NameExpression] = []
        for item in try items() {
            do throws(Refusal) { expressions.append(try item.expression(extent)) } catch { item.report(error.reason) }
        }
        return expressions
    }

    func expression(_ extent: Expression.Extent) throws(Refusal) -> NameExpression {
        if node.isEmpty { throw Refusal("must not be empty") }
        let source = try text()
        do throws(PatternError) {
            return try NameExpression(source, extent)
        } catch {
            throw Refusal("\(error)")
        }
    }
}
