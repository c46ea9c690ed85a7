// An admin command as one value, parsed from a URL or built by a sub-command. A sub-command sends the URL to a running
// server; without one it runs the command in its own process. Pure.

package import Configuration
package import OCI

/// One admin command.
package enum AdminCommand: Sendable, Equatable {
    /// Lists manifests, one per line, as `GET /cmd/manifest/list`. A nil limit means all.
    case manifests(pattern: String?, limit: Int?)
    /// Lists image manifests and their blobs, one per line. `blob` is a part of a blob's digest.
    case images(pattern: String?, blob: String?, limit: Int?)
    case blobs(part: String?, limit: Int?)
    /// The output of the sub-command `list`. Not an endpoint of the reference.
    case table(pattern: String?, hasHeader: Bool, isShort: Bool)
    /// The output of `list --blobs`. Not an endpoint of the reference.
    case blobTable(hasHeader: Bool, isShort: Bool)
    case prune(Prune)
    case stop
    /// Reads the configuration again, and answers when it is in use or refused. Not an endpoint of the reference.
    case reload
    /// Fills the cache from files, and streams its progress. Not an endpoint of the reference.
    case load(Load)
    /// Hashes all content again, and streams its progress. Not an endpoint of the reference.
    case verify
    /// Revalidates cached tags, and streams the results. Not an endpoint of the reference.
    case refresh(pattern: String)

    /// The images to prune, and how.
    package struct Prune: Sendable, Equatable {
        /// The criterion that selects images.
        package enum Selection: Sendable, Equatable {
            /// Not pulled for this long.
            case accessed(Age)
            /// In the cache for longer than this.
            case created(Age)
            /// In the cache since before this time, in seconds since 1970. Not in the reference's API.
            case createdBefore(seconds: Int64)
            case pattern(String)
        }

        package var selection: Selection
        package var limit: Int?
        package var isDryRun: Bool
        /// Whether to prune images even while they are being pulled. Not in the reference's API.
        package var isForced: Bool
        /// Whether the response is the sub-command's output, with a summary. Not in the reference's API.
        package var isReport: Bool

        package init(
            _ selection: Selection, limit: Int?, isDryRun: Bool, isForced: Bool = false, isReport: Bool = false
        ) {
            self.selection = selection
            self.limit = limit
            self.isDryRun = isDryRun
            self.isForced = isForced
            self.isReport = isReport
        }
    }

    /// The files to load, and how.
    package struct Load: Sendable, Equatable {
        /// A file name, a glob, or several of them separated by commas.
        package var files: String
        /// The base of relative names: the client's working directory, which is not the server's.
        package var directory: String
        package var platforms: PlatformChoice
        package var resolveAs: ImageName?
        package var isAirGapped: Bool
        /// Whether the referrers of a list's images are loaded too.
        package var includesReferrers: Bool

        package init(
            files: String, directory: String, platforms: PlatformChoice, resolveAs: ImageName?, isAirGapped: Bool,
            includesReferrers: Bool = false
        ) {
            self.includesReferrers = includesReferrers
            self.files = files
            self.directory = directory
            self.platforms = platforms
            self.resolveAs = resolveAs
            self.isAirGapped = isAirGapped
        }
    }

    /// Entries listed or pruned when no `count` is given.
    package static let usualLimit = 50

    /// Whether it changes the cache or the server.
    package var isMutating: Bool {
        switch self {
        case .prune, .stop, .reload, .load, .verify, .refresh: true
        default: false
        }
    }

    /// The accepted methods. A GET may stop the server only on the socket, where the reference's scripts use it: on a
    /// port browsers and crawlers follow and prefetch links.
    package func methods(onSocket: Bool) -> [RequestHead.Method] {
        switch self {
        case .prune: [.delete]
        case .stop: onSocket ? [.get, .post] : [.post]
        case .reload, .load, .verify, .refresh: [.post]
        default: [.get, .head]
        }
    }

    /// Whether its response lasts as long as its job.
    package var isFollowed: Bool {
        switch self {
        case .load, .verify, .refresh: true
        default: false
        }
    }

    /// Whether it is accepted on the admin socket only: it makes the server open files by name, or read all of them,
    /// which only the server's own user may request.
    package var needsSocket: Bool {
        switch self {
        case .load, .verify: true
        default: false
        }
    }
}

// MARK: - From a URL

extension AdminCommand {
    /// The prefix of all admin paths.
    package static let root: StaticString = "/cmd/"

    /// Whether `path` has the admin prefix, whether the command exists or not.
    package static func isMeant(_ path: UnsafeRawBufferPointer) -> Bool {
        let count = root.utf8CodeUnitCount
        return path.count >= count && UnsafeRawBufferPointer(rebasing: path[..<count]).equals(root)
    }

    /// Parses a request. An unknown parameter is refused: the typing error `dryrun=true` must not empty a cache.
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
            try items.allow(["pattern", "header", "short", "blobs"])
            self = try items.table()
        case "/cmd/prune":
            try items.allow(["type", "dur", "expr", "before", "count", "dryRun", "force", "report"])
            self = .prune(
                Prune(
                    try items.selection(), limit: try items.limit(), isDryRun: try items.flag("dryRun"),
                    isForced: try items.flag("force"), isReport: try items.flag("report")))
        case "/cmd/stop":
            try items.allow([])
            self = .stop
        case "/cmd/reload":
            try items.allow([])
            self = .reload
        case "/cmd/load":
            try items.allow(["files", "directory", "platform", "resolve", "airGapped", "referrers"])
            self = .load(try items.load())
        case "/cmd/verify":
            try items.allow([])
            self = .verify
        case "/cmd/refresh":
            try items.allow(["pattern"])
            guard let pattern = try items.text("pattern") else {
                throw AdminQuery.refused("pattern: an empty one would match every tag")
            }
            self = .refresh(pattern: pattern)
        default:
            throw RegistryError(status: 404, code: .unsupported, message: "no such command of administration")
        }
    }
}

/// The parameters, with a reason for each invalid one.
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

    /// Nil when the parameter is absent or empty.
    func text(_ name: StaticString) throws(RegistryError) -> String? {
        switch items.item(named: name) {
        case .absent: return nil
        case .malformed: throw AdminQuery.refused("malformed parameter \(name)")
        case .value(let text): return text.isEmpty ? nil : text
        }
    }

    /// A flag without a value is refused: `?dryRun` is not meant as a prune that removes.
    func flag(_ name: StaticString) throws(RegistryError) -> Bool {
        switch items.item(named: name) {
        case .absent: return false
        case .malformed: throw AdminQuery.refused("malformed parameter \(name)")
        case .value(let text): return try value(name, text, ConfigRules.flag)
        }
    }

    /// −1 means no limit.
    func limit() throws(RegistryError) -> Int? {
        guard let text = try text("count") else { return AdminCommand.usualLimit }
        if text == "-1" { return nil }
        guard let number = OutsideNumber.decimal(text, in: 1...Int.max) else {
            throw AdminQuery.refused("count: must be a number from 1, or -1 for no limit")
        }
        return number
    }

    func table() throws(RegistryError) -> AdminCommand {
        let (pattern, hasHeader, isShort) = (try text("pattern"), try flag("header"), try flag("short"))
        guard try flag("blobs") else { return .table(pattern: pattern, hasHeader: hasHeader, isShort: isShort) }
        guard pattern == nil else { throw AdminQuery.refused("pattern: blobs have no names that it could match") }
        return .blobTable(hasHeader: hasHeader, isShort: isShort)
    }

    func selection() throws(RegistryError) -> AdminCommand.Prune.Selection {
        switch try text("type") {
        case "accessed": return .accessed(try age())
        case "created":
            guard let before = try text("before") else { return .created(try age()) }
            let latest = OutsideNumber.seconds.upperBound
            guard let seconds = OutsideNumber.signedDecimal(before, in: -latest...latest) else {
                throw AdminQuery.refused("before: must be seconds since 1970")
            }
            return .createdBefore(seconds: seconds)
        case "pattern":
            guard let expression = try text("expr") else { throw AdminQuery.refused("type=pattern needs expr") }
            return .pattern(expression)
        default: throw AdminQuery.refused("type: must be accessed, created or pattern")
        }
    }

    func load() throws(RegistryError) -> AdminCommand.Load {
        guard let files = try text("files") else { throw AdminQuery.refused("files: none are given") }
        guard let directory = try text("directory"), directory.hasPrefix("/") else {
            throw AdminQuery.refused("directory: must be an absolute path")
        }
        let resolve = try text("resolve")
        let name = resolve.flatMap { ImageName($0) }
        if resolve != nil, name == nil { throw AdminQuery.refused("resolve: not an image reference") }
        return AdminCommand.Load(
            files: files, directory: directory, platforms: try platforms(), resolveAs: name,
            isAirGapped: try flag("airGapped"), includesReferrers: try flag("referrers"))
    }

    /// `all`, or `os/architecture` with an optional variant.
    private func platforms() throws(RegistryError) -> PlatformChoice {
        guard let text = try text("platform") else { return .only(.machine) }
        if text == "all" { return .all }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard (2...3).contains(parts.count), !parts.contains("") else {
            throw AdminQuery.refused("platform: must be all, or such as linux/amd64")
        }
        return .only(
            Platform(os: parts[0], architecture: parts[1], variant: parts.count == 3 ? parts[2] : nil))
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
