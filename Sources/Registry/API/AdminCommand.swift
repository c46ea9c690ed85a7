// What an operator asks for: one value, whether it came as a URL or as a sub-command. A sub-command writes the URL for
// a running server; without one it has the same value carried out in its own process. Pure.

/// One request of an operator.
package enum AdminCommand: Sendable, Equatable {
    /// A line a manifest, as `GET /cmd/manifest/list` has it. No limit: nil.
    case manifests(pattern: String?, limit: Int?)
    /// A line an image manifest, and one for each of its blobs. `blob` is part of a blob's digest.
    case images(pattern: String?, blob: String?, limit: Int?)
    case blobs(part: String?, limit: Int?)
    /// What the sub-command `list` prints. Not an endpoint of the reference.
    case table(pattern: String?, hasHeader: Bool, isShort: Bool)
    case prune(Prune)
    case stop

    package struct Prune: Sendable, Equatable {
        package enum Selection: Sendable, Equatable {
            /// Not pulled for so long.
            case accessed(Age)
            /// In the cache for longer than that.
            case created(Age)
            /// In the cache since before this, in seconds since 1970. Not in the reference's API.
            case createdBefore(seconds: Int64)
            case pattern(String)
        }

        package var selection: Selection
        package var limit: Int?
        package var isDryRun: Bool
        /// Whether the answer is the sub-command's, with a summary. Not in the reference's API.
        package var isReport: Bool

        package init(_ selection: Selection, limit: Int?, isDryRun: Bool, isReport: Bool = false) {
            self.selection = selection
            self.limit = limit
            self.isDryRun = isDryRun
            self.isReport = isReport
        }
    }

    /// How many are listed or pruned when no `count` is given.
    package static let usualLimit = 50

    /// Whether it changes something.
    package var isMutating: Bool {
        switch self {
        case .prune, .stop: true
        default: false
        }
    }

    /// The methods it may be asked by.
    package var methods: [RequestHead.Method] {
        switch self {
        case .prune: [.delete]
        case .stop: [.get, .post]
        default: [.get, .head]
        }
    }
}

// MARK: - From a URL

extension AdminCommand {
    /// The path that all of them begin with.
    package static let root: StaticString = "/cmd/"

    /// Whether `path` is one of administration's, existing or not.
    package static func isMeant(_ path: UnsafeRawBufferPointer) -> Bool {
        let count = root.utf8CodeUnitCount
        return path.count >= count && UnsafeRawBufferPointer(rebasing: path[..<count]).equals(root)
    }

    /// Reads a request. A parameter that is not known is refused: the slip in `dryrun=true` must not empty a cache.
    package init(path: UnsafeRawBufferPointer, query: QueryItems) throws(RegistryError) {
        let items = AdminQuery(query)
        switch String(decoding: path, as: UTF8.self) {
        case "/cmd/manifest/list":
            try items.allow(["pattern", "count"])
            self = .manifests(pattern: try items.text("pattern"), limit: try items.limit())
        case "/cmd/image/list":
            try items.allow(["pattern", "digest", "count"])
            self = .images(
                pattern: try items.text("pattern"), blob: try items.text("digest"), limit: try items.limit())
        case "/cmd/blob/list":
            try items.allow(["substr", "count"])
            self = .blobs(part: try items.text("substr"), limit: try items.limit())
        case "/cmd/table":
            try items.allow(["pattern", "header", "short"])
            self = .table(
                pattern: try items.text("pattern"), hasHeader: try items.flag("header"),
                isShort: try items.flag("short"))
        case "/cmd/prune":
            try items.allow(["type", "dur", "expr", "before", "count", "dryRun", "report"])
            self = .prune(
                Prune(
                    try items.selection(), limit: try items.limit(), isDryRun: try items.flag("dryRun"),
                    isReport: try items.flag("report")))
        case "/cmd/stop":
            try items.allow([])
            self = .stop
        default:
            throw RegistryError(status: 404, code: .unsupported, message: "no such command of administration")
        }
    }
}

/// The parameters, with the reason where one is wrong.
private struct AdminQuery {
    private let items: QueryItems

    init(_ items: QueryItems) { self.items = items }

    static func refused(_ reason: String) -> RegistryError {
        RegistryError(status: 400, code: .unsupported, message: reason)
    }

    func allow(_ known: [String]) throws(RegistryError) {
        for name in items.names {
            guard let name else { throw AdminQuery.refused("malformed query") }
            guard known.contains(name) || name.isEmpty else {
                let words = known.isEmpty ? "it takes none" : "there are \(known.joined(separator: ", "))"
                throw AdminQuery.refused("unknown parameter \(ConfigRules.shown(name)); \(words)")
            }
        }
    }

    /// Nil where it is not there, or empty.
    func text(_ name: StaticString) throws(RegistryError) -> String? {
        switch items.item(named: name) {
        case .absent: return nil
        case .malformed: throw AdminQuery.refused("malformed parameter \(name)")
        case .value(let text): return text.isEmpty ? nil : text
        }
    }

    func flag(_ name: StaticString) throws(RegistryError) -> Bool {
        guard let text = try text(name) else { return false }
        return try value(name, text, ConfigRules.flag)
    }

    /// −1 is no limit.
    func limit() throws(RegistryError) -> Int? {
        guard let text = try text("count") else { return AdminCommand.usualLimit }
        guard let number = Int(text), number == -1 || number > 0 else {
            throw AdminQuery.refused("count: must be a number from 1, or -1 for no limit")
        }
        return number == -1 ? nil : number
    }

    func selection() throws(RegistryError) -> AdminCommand.Prune.Selection {
        switch try text("type") {
        case "accessed": return .accessed(try age())
        case "created":
            guard let before = try text("before") else { return .created(try age()) }
            guard let seconds = Int64(before) else { throw AdminQuery.refused("before: must be seconds since 1970") }
            return .createdBefore(seconds: seconds)
        case "pattern":
            guard let expression = try text("expr") else { throw AdminQuery.refused("type=pattern needs expr") }
            return .pattern(expression)
        default: throw AdminQuery.refused("type: must be accessed, created or pattern")
        }
    }

    private func age() throws(RegistryError) -> Age {
        guard let text = try text("dur") else { throw AdminQuery.refused("this type needs dur, such as dur=30d") }
        return try value("dur", text) { text throws(Refusal) in try Age(text) }
    }

    private func value<T>(
        _ name: StaticString, _ text: String, _ rule: (String) throws(Refusal) -> T
    ) throws(RegistryError) -> T {
        do throws(Refusal) { return try rule(text) } catch { throw AdminQuery.refused("\(name): \(error)") }
    }
}

// MARK: - To a URL

extension AdminCommand {
    /// Method and target that ask a running server for it.
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
        case .prune(let prune): ("DELETE", AdminCommand.target("prune", prune.parameters))
        case .stop: ("GET", AdminCommand.target("stop", []))
        }
    }

    private static func count(_ limit: Int?) -> String { "\(limit ?? -1)" }

    fileprivate static func target(_ path: String, _ parameters: [(String, String?)]) -> String {
        let pairs = parameters.compactMap { name, value in value.map { "\(name)=\(PercentEncoding.encode($0))" } }
        return "\(root)\(path)" + (pairs.isEmpty ? "" : "?\(pairs.joined(separator: "&"))")
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
        return which + [("count", "\(limit ?? -1)"), ("dryRun", "\(isDryRun)"), ("report", "\(isReport)")]
    }
}
