// Media types that a client accepts in addition to those that every manifest request asks for.

internal import OCI

/// Selects the additional media types to send to an upstream.
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
