// Detection of loops in chains of caches (RFC 9110 §7.6.3). A request that comes back to the server that sent it must
// be refused: it would join its own pull and wait for itself.

package import OCI

/// Reads and extends the `Via` field.
package enum ViaChain {
    /// Servers that a request may have passed; more means a loop of servers that do not detect it themselves.
    static let maximumHops = 16
    /// Longest `Via` accepted, in bytes.
    static let maximumBytes = 2048

    /// The `Via` to send upstream: the received value, and this server.
    /// - Throws: 508 when this server is already in it, or it is too long.
    package static func extend(_ received: String?, with pseudonym: String) throws(RegistryError) -> String {
        let own = "1.1 \(pseudonym)"
        guard let received else { return own }
        let hops = received.split(separator: ",")
        let comesBack = hops.contains {
            $0.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first ?? "" == pseudonym
        }
        guard !comesBack, hops.count < maximumHops, received.utf8.count <= maximumBytes else {
            throw RegistryError(
                status: 508, code: .unavailable,
                message: "the request has come back to this server: the upstream, or a mirror behind it, points here")
        }
        return "\(received), \(own)"
    }
}
