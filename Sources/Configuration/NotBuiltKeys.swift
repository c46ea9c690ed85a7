// The reference's keys that this server does not act on yet. A configuration that uses one stops the start: to go on
// without what was asked for (serving plain text where `serverTlsConfig` stands, say) would be worse. The values that
// ask for nothing, which people copy from the reference's documentation, are let through.

extension ConfigKey {
    static var notBuiltReason: String { "not built yet; leave it empty or take it out to start the server" }

    /// A key that may only hold nothing.
    static func notBuilt(_ name: String) -> ConfigKey {
        ConfigKey(name: name) { value, _ throws(Refusal) in
            if !value.asksForNothing { throw Refusal(notBuiltReason) }
        }
    }

    /// A mapping, of which `isInert` tells whether it asks for nothing. Misspelt keys in it are still found.
    static func notBuilt(
        _ name: String, keys: [String], isInert: @escaping (ConfigValue) -> Bool
    ) -> ConfigKey {
        ConfigKey(name: name, children: keys) { value, _ throws(Refusal) in
            var nothing: Void = ()
            try value.decode(keys.map { ConfigKey<Void>(name: $0) { _, _ in } }, into: &nothing)
            if !isInert(value) { throw Refusal(notBuiltReason) }
        }
    }
}

extension ConfigValue {
    /// Empty, or the 0 that stands for "off" among ports.
    var asksForNothing: Bool { node.isEmpty || node.content == .scalar("0", isPlain: true) }

    /// Whether all the keys of this mapping ask for nothing, or hold what `except` gives for them.
    func holdsNothing(except inert: [String: String] = [:]) -> Bool {
        guard case .mapping(let entries) = node.content else { return asksForNothing }
        return entries.allSatisfy { entry in
            guard let value = child(entry.key) else { return true }
            if case .scalar(let text, _) = value.node.content, inert[entry.key] == text { return true }
            return value.asksForNothing
        }
    }
}
