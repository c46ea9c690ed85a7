// The values of the `ns` label: upstream hosts. Clients choose host names freely, so a host gets its own value only
// when it is configured or has given a good response, and only up to a limit.

package import OCI

/// Upstream hosts with a label value, by number.
package struct Namespaces: Sendable {
    /// Unconfigured hosts that get their own value; later ones share `other`. Each costs about 60 series; a cluster
    /// pulls from a few dozen registries at most.
    package static let maximumUnconfigured = 100

    /// The number of hosts without their own value.
    package static let other = 0

    /// Indexed by number.
    package private(set) var labels = ["other"]
    private var numbers: [RegistryHost: Int] = [:]
    private var roomLeft = Namespaces.maximumUnconfigured

    package init(configured: [RegistryHost] = []) {
        for host in configured where numbers[host] == nil { add(host) }
    }

    /// The host's number; nil when it has none of its own.
    package func number(of host: RegistryHost) -> Int? { numbers[host] }

    /// Gives a host its own number while there is room, after a good response.
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
