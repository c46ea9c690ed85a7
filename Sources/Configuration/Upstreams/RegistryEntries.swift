// Which entry of `registries` applies to a host.

package import OCI

/// The entries of a configuration, for looking up the one of a host.
package struct RegistryEntries: Sendable {
    /// In the order of the file.
    package let all: [RegistryConfig]
    private let byHost: [RegistryHost: Int]
    /// The positions of patterns, the most specific first.
    private let patterns: [Int]

    package init(_ all: [RegistryConfig]) {
        self.all = all
        var byHost: [RegistryHost: Int] = [:]
        for (index, entry) in all.enumerated() {
            if let host = entry.name.host, byHost[host] == nil { byHost[host] = index }
        }
        self.byHost = byHost
        patterns = all.indices.filter { all[$0].name.host == nil }
            .sorted { all[$0].name.literalCount > all[$1].name.literalCount }
    }

    /// The hosts that entries name, each with its entry.
    package var named: [RegistryHost: RegistryConfig] { byHost.mapValues { all[$0] } }

    /// The position of the entry for a host: the one with its name, else the most specific pattern that matches it.
    package func index(for host: RegistryHost) -> Int? {
        byHost[host] ?? patterns.first { all[$0].name.matches(host) }
    }
}
