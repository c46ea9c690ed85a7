// What a client accepts beyond the manifest types that are always asked for.

internal import OCI

package enum AcceptedTypes {
    /// Further types passed on; clients name half a dozen.
    static let maximumExtra = 16

    /// Types of the client's `Accept` lines, in order, that an upstream is sent as well: not those always sent,
    /// not wildcards, and not Docker's schema 1, which would be refused if it came.
    package static func extra(_ lines: [String]) -> [String] {
        var result: [String] = []
        for line in lines {
            for item in line.split(separator: ",") {
                // `;` alone has nothing before its parameters.
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
