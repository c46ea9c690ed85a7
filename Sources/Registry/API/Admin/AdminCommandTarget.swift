// Formats an admin command as the request to a running server: the reverse of AdminCommand's parser. Pure.

internal import Configuration
internal import OCI

extension AdminCommand {
    /// Method and target of the request to a running server.
    package var request: (method: String, target: String) {
        switch self {
        case .manifests(let pattern, let limit):
            ("GET", AdminCommand.target("manifest/list", [("pattern", pattern), ("count", AdminCommand.count(limit))]))
        case .images(let pattern, let blob, let limit):
            (
                "GET",
                AdminCommand.target(
                    "image/list", [("pattern", pattern), ("digest", blob), ("count", AdminCommand.count(limit))])
            )
        case .blobs(let part, let limit):
            ("GET", AdminCommand.target("blob/list", [("substr", part), ("count", AdminCommand.count(limit))]))
        case .table(let pattern, let hasHeader, let isShort):
            (
                "GET",
                AdminCommand.target(
                    "table", [("pattern", pattern), ("header", "\(hasHeader)"), ("short", "\(isShort)")])
            )
        case .cooldown(let pattern, let hasHeader):
            ("GET", AdminCommand.target("cooldown", [("pattern", pattern), ("header", "\(hasHeader)")]))
        case .approve(let digest): ("POST", AdminCommand.target("approve", [("digest", "\(digest)")]))
        case .blobTable(let hasHeader, let isShort):
            (
                "GET",
                AdminCommand.target(
                    "table", [("blobs", "true"), ("header", "\(hasHeader)"), ("short", "\(isShort)")])
            )
        case .prune(let prune): ("DELETE", AdminCommand.target("prune", prune.parameters))
        case .stop: ("POST", AdminCommand.target("stop", []))
        case .reload: ("POST", AdminCommand.target("reload", []))
        case .load(let load): ("POST", AdminCommand.target("load", load.parameters))
        case .verify: ("POST", AdminCommand.target("verify", []))
        case .refresh(let pattern): ("POST", AdminCommand.target("refresh", [("pattern", pattern)]))
        }
    }

    private static func count(_ limit: Int?) -> String { "\(limit ?? -1)" }

    fileprivate static func target(_ path: String, _ parameters: [(String, String?)]) -> String {
        let pairs = parameters.compactMap { name, value in value.map { "\(name)=\(PercentEncoding.encode($0))" } }
        return "\(root)\(path)" + (pairs.isEmpty ? "" : "?\(pairs.joined(separator: "&"))")
    }
}

extension AdminCommand.Load {
    fileprivate var parameters: [(String, String?)] {
        let platform =
            switch platforms {
            case .all: "all"
            case .only(let platform): platform.description
            }
        return [
            ("files", files), ("directory", directory), ("platform", platform),
            ("resolve", resolveAs?.description), ("airGapped", "\(isAirGapped)"),
            // A server of an earlier version refuses parameters that it does not know.
            ("referrers", includesReferrers ? "true" : nil),
        ]
    }
}

extension AdminCommand.Prune {
    fileprivate var parameters: [(String, String?)] {
        let which: [(String, String?)]
        switch selection {
        case .accessed(let age): which = [("type", "accessed"), ("dur", "\(age.nanoseconds)ns")]
        case .created(let age): which = [("type", "created"), ("dur", "\(age.nanoseconds)ns")]
        case .createdBefore(let seconds): which = [("type", "created"), ("before", "\(seconds)")]
        case .pattern(let expression): which = [("type", "pattern"), ("expr", expression)]
        }
        return which + [
            ("count", "\(limit ?? -1)"), ("dryRun", "\(isDryRun)"), ("report", "\(isReport)"),
            // A server of an earlier version refuses parameters that it does not know.
            ("force", isForced ? "true" : nil),
        ]
    }
}
