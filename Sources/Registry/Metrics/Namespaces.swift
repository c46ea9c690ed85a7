// The values of the `ns` label: upstream hosts. Clients name hosts as they please, so a host gets a value of its own
// only when configuration names it or when it has once answered well, and even then only up to a bound.

package import OCI

/// Upstream hosts that have a label value, by number.
package struct Namespaces: Sendable {
    /// Hosts beyond those configured that get a value of their own; later ones share `other`. Each costs about 60
    /// series; a cluster pulls from a few dozen registries at most.
    package static let maximumUnconfigured = 100

    /// The number of those that have no value of their own.
    package static let other = 0

    /// By number.
    package private(set) var labels = ["other"]
    private var numbers: [RegistryHost: Int] = [:]
    private var roomLeft = Namespaces.maximumUnconfigured

    package init(configured: [RegistryHost] = []) {
        for host in configured where numbers[host] == nil { add(host) }
    }

    /// The host's number, if it has one of its own.
    package func number(of host: RegistryHost) -> Int? { numbers[host] }

    /// The host has answered well: it gets a number of its own while there is room.
    /// - Returns: its number, or `other`, and whether it is new.
    mutating func admit(_ host: RegistryHost) -> (number: Int, isNew: Bool) {
        if let known = numbers[host] { return (known, false) }
        guard roomLeft > 0 else { return (Namespaces.other, false) }
        roomLeft -= 1
        return (add(host), true)
    }

    @discardableResult
    private mutating func add(_ host: RegistryHost) -> Int {
        numbers[host] = labels.count
        labels.append(host.text)
        return labels.count - 1
    }
}
