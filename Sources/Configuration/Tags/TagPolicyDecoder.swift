// Decodes `tagPolicies` and `tagTTL`.

/// The keys of this file, for ConfigDecoder.
enum TagPolicyKeys {
    /// Why `tagTTL` and `alwaysPullLatest` are refused beside `tagPolicies`.
    static let beside = "cannot be set beside tagPolicies: set ttl in an entry of tagPolicies instead"

    static var all: [ConfigKey<Config>] {
        [
            .init(name: "tagPolicies", children: entryKeys.map { "[].\($0.name)" }) { value, config throws(Refusal) in
                config.tagPolicies = try value.tagPolicies()
            },
            .init(name: "tagTTL") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.tagTTL, to: &config.tagTTL)
            },
        ]
    }

    /// Reports keys that contradict `tagPolicies`.
    static func check(_ document: ConfigValue, _ config: Config) {
        guard document.isSet("tagPolicies") else { return }
        if document.isSet("tagTTL") { document.child("tagTTL")?.report(beside) }
        if config.alwaysPullLatest { document.child("alwaysPullLatest")?.report(beside) }
    }

    /// An entry under construction.
    fileprivate struct Draft {
        var match: NameExpression?
        var policy = TagPolicy()
    }

    fileprivate static var entryKeys: [ConfigKey<Draft>] {
        [
            .init(name: "match") { value, draft throws(Refusal) in draft.match = try value.expression(.anywhere) },
            .init(name: "ttl") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.tagTTL, to: &draft.policy.ttl)
            },
            .init(name: "staleWhileRevalidate") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.staleTime, to: &draft.policy.staleWhileRevalidate)
            },
            .init(name: "staleIfError") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.staleTime, to: &draft.policy.staleIfError)
            },
            .init(name: "cooldown") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.cooldown, to: &draft.policy.cooldown)
            },
            .init(name: "onUpstreamDelete") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.removesDeleted, to: &draft.policy.removesDeleted)
            },
        ]
    }
}

extension ConfigValue {
    /// The entries of `tagPolicies`. A problem of an entry is reported at its own place.
    fileprivate func tagPolicies() throws(Refusal) -> [TagPolicies.Entry] {
        if node.isNull { return [] }
        guard case .sequence(let nodes) = node.content else { throw Refusal("must be a list of entries with match") }
        guard nodes.count <= NameExpression.maximumCount else {
            throw Refusal("must have at most \(NameExpression.maximumCount) entries, not \(nodes.count)")
        }
        var entries: [TagPolicies.Entry] = []
        for item in try items() {
            var draft = TagPolicyKeys.Draft()
            do throws(Refusal) { try item.decode(TagPolicyKeys.entryKeys, into: &draft) } catch {
                item.report(error.reason)
                continue
            }
            if item.child("match") == nil { item.report("needs match, an expression for host/repository:tag") }
            guard let match = draft.match else { continue }
            entries.append(TagPolicies.Entry(match: match, policy: draft.policy))
        }
        return entries
    }
}

extension ConfigRules {
    /// A time span, or `never`.
    package static func tagTTL(_ text: String) throws(Refusal) -> TagSpan { try span(text, endless: "never") }

    /// A time span, or `forever`.
    static func staleTime(_ text: String) throws(Refusal) -> TagSpan { try span(text, endless: "forever") }

    /// A time span with an end.
    static func cooldown(_ text: String) throws(Refusal) -> TagSpan { try span(text, endless: nil) }

    private static func span(_ text: String, endless: String?) throws(Refusal) -> TagSpan {
        if text == endless { return .forever }
        if text == "0s" { return .zero }
        guard let age = try? Age(text) else {
            let word = endless.map { "\($0), " } ?? ""
            throw Refusal(
                "must be \(word)0s, or a whole number and a unit (ns us ms s m h d) up to 36500d, not \(shown(text))")
        }
        // Rounded up, so that a span above zero stays above it.
        return TagSpan(milliseconds: (age.nanoseconds + 999_999) / 1_000_000)
    }

    static func removesDeleted(_ text: String) throws(Refusal) -> Bool {
        switch text {
        case "keep": return false
        case "remove": return true
        default: throw Refusal("must be keep or remove, not \(shown(text))")
        }
    }
}
