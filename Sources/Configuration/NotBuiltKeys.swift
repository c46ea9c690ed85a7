// The reference's keys that this server does not support yet. A configuration that uses one stops the start: ignoring
// it (such as serving plain text in spite of `serverTlsConfig`) would be worse. Values that change nothing, which
// people copy from the reference's documentation, are accepted.

extension ConfigKey {
    static var notBuiltReason: String { "not built yet; leave it empty or take it out to start the server" }

    /// A key that must be empty.
    static func notBuilt(_ name: String) -> ConfigKey {
        ConfigKey(name: name) { value, _ throws(Refusal) in
            if !value.asksForNothing { throw Refusal(notBuiltReason) }
        }
    }

    /// A mapping that must change nothing, as `isInert` decides. Misspelt keys in it are still reported.
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
    /// Whether the value is empty, or the 0 that turns a port off.
    var asksForNothing: Bool { node.isEmpty || node.content == .scalar("0", isPlain: true) }

    /// Whether every key of this mapping changes nothing, or has its value in `except`.
    func holdsNothing(except inert: [String: String] = [:]) -> Bool {
        guard case .mapping(let entries) = node.content else { return asksForNothing }
        return entries.allSatisfy { entry in
            guard let value = child(entry.key) else { return true }
            if case .scalar(let text, _) = value.node.content, inert[entry.key] == text { return true }
            return value.asksForNothing
        }
    }
}
