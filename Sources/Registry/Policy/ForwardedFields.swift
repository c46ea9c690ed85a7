// Fields of a client's request that are passed on to an upstream: `Via` and `Accept`.

package import OCI

/// Detects loops in chains of caches (RFC 9110 §7.6.3) by the `Via` field. A request that comes back to the server that
/// sent it must be refused: it would join its own pull and wait for itself.
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

/// Media types that a client accepts in addition to those that every manifest request asks for.
package enum AcceptedTypes {
    /// Further types passed on to an upstream; clients name half a dozen.
    static let maximumExtra = 16

    /// The types of the client's `Accept` lines, in order, that are sent to an upstream in addition to the usual ones.
    /// Wildcards and Docker's schema 1 are left out; schema 1 would be refused on arrival.
    package static func extra(_ lines: [String]) -> [String] {
        var result: [String] = []
        for line in lines {
            for item in line.split(separator: ",") {
                // An item without anything before its `;` has no type.
                guard let essence = item.split(separator: ";", maxSplits: 1).first else { continue }
                let type = String(essence.filter { $0 != " " && $0 != "\t" })
                guard type.hasPrefix("application/"), type.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }),
                    !type.contains("distribution.manifest.v1"), MediaType(type) == nil, !result.contains(type),
                    result.count < maximumExtra
                else { continue }
                result.append(type)
            }
        }
        return result
    }
}
