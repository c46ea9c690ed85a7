// How connections to upstreams are made: proxies, time limits and their number. The same keys are at the top level of
// the file, for all upstreams, and in an entry of `registries`.

internal import OCI

/// Settings of connections. A value that is not set is the one of the next more general place: the top level, then the
/// environment or the default.
package struct ConnectionSettings: Sendable, Equatable {
    package var proxy: ProxySetting?
    /// Destinations that the proxy here, and those of more general places, are not used for.
    package var noProxy: NoProxyList?
    /// Name lookup, with the wait for it.
    package var lookupMilliseconds: Int?
    /// Connecting to one address.
    package var connectMilliseconds: Int?
    package var tlsMilliseconds: Int?
    /// From the request to the first byte of the response.
    package var firstByteMilliseconds: Int?
    /// Longest time without progress; nil at the top level, where `Config.pullTimeoutMilliseconds` is.
    package var pullTimeoutMilliseconds: Int?
    /// Concurrent requests to one upstream.
    package var maximumConnections: Int?

    package init() {}
}

/// The keys of this file.
enum ConnectionKeys {
    /// The keys for a target with these settings. `pullTimeout` is not among them.
    static func all<Target>(_ settings: WritableKeyPath<Target, ConnectionSettings>) -> [ConfigKey<Target>] {
        [
            .init(name: "proxy") { value, target throws(Refusal) in
                try value.assign(ConfigRules.proxy, to: &target[keyPath: settings].proxy)
            },
            .init(name: "noProxy") { value, target throws(Refusal) in
                try value.assign(ConfigRules.noProxy, to: &target[keyPath: settings].noProxy)
            },
            duration("lookupTimeout", settings.appending(path: \.lookupMilliseconds)),
            duration("connectTimeout", settings.appending(path: \.connectMilliseconds)),
            duration("tlsTimeout", settings.appending(path: \.tlsMilliseconds)),
            duration("firstByteTimeout", settings.appending(path: \.firstByteMilliseconds)),
            .init(name: "maxConnections") { value, target throws(Refusal) in
                try value.assignUnlessEmpty(
                    ConfigRules.connectionCount, to: &target[keyPath: settings].maximumConnections)
            },
        ]
    }

    /// `pullTimeout` of an entry of `registries`.
    static func pullTimeout<Target>(_ settings: WritableKeyPath<Target, ConnectionSettings>) -> ConfigKey<Target> {
        .init(name: "pullTimeout") { value, target throws(Refusal) in
            try value.assignUnlessEmpty(
                ConfigRules.optionalTimeout, to: &target[keyPath: settings].pullTimeoutMilliseconds)
        }
    }

    /// The top-level `tls`: authorities for every upstream that has none of its own.
    static var authorities: ConfigKey<Config> {
        let keys: [ConfigKey<Config>] = [
            .init(name: "ca") { value, config throws(Refusal) in
                try value.assignFile(.authorities, to: &config.caFile)
            }
        ]
        return .init(name: "tls", children: keys.map(\.name)) { value, config throws(Refusal) in
            try value.decode(keys, into: &config)
        }
    }

    private static func duration<Target>(
        _ name: String, _ path: WritableKeyPath<Target, Int?>
    ) -> ConfigKey<Target> {
        .init(name: name) { value, target throws(Refusal) in
            try value.assignUnlessEmpty(ConfigRules.durationMilliseconds, to: &target[keyPath: path])
        }
    }
}

extension ConfigRules {
    /// `UpstreamClient.maximumRequests`: more requests never run.
    private static let maximumConnections = 1024

    /// A URL; `direct` and an empty text are no proxy.
    static func proxy(_ text: String) throws(Refusal) -> ProxySetting? {
        text.isEmpty ? .direct : try ProxySetting(text)
    }

    /// An empty text is an empty list, so that an entry can undo the list of the top level.
    static func noProxy(_ text: String) throws(Refusal) -> NoProxyList? { try NoProxyList(text) }

    static func optionalTimeout(_ text: String) throws(Refusal) -> Int? { try timeoutMilliseconds(text) }

    /// A duration such as `500ms`, rounded up to whole milliseconds, at most a day.
    static func durationMilliseconds(_ text: String) throws(Refusal) -> Int? {
        guard let age = try? Age(text) else {
            throw Refusal("must be a whole number and a unit (ns us ms s m h d), such as 15s, not \(shown(text))")
        }
        let milliseconds = (age.nanoseconds + 999_999) / 1_000_000
        guard milliseconds <= maximumTimeoutMilliseconds else {
            throw Refusal("must be at most 24h, not \(shown(text))")
        }
        return Int(milliseconds)
    }

    static func connectionCount(_ text: String) throws(Refusal) -> Int? {
        guard let number = OutsideNumber.decimal(text, in: 1...maximumConnections) else {
            throw Refusal("must be a number from 1 to \(maximumConnections), not \(shown(text))")
        }
        return number
    }
}
