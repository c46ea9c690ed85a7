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
    /// Lists the images that `cooldown` holds back, with their tags. Not an endpoint of the reference.
    case cooldown(pattern: String?, hasHeader: Bool)
    /// Ends the wait of a manifest that `cooldown` holds back. Not an endpoint of the reference.
    case approve(Digest)
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
        case .prune, .stop, .reload, .load, .verify, .refresh, .approve: true
        default: false
        }
    }

    /// The accepted methods. A GET may stop the server only on the socket, where the reference's scripts use it: on a
    /// port browsers and crawlers follow and prefetch links.
    package func methods(onSocket: Bool) -> [RequestHead.Method] {
        switch self {
        case .prune: [.delete]
        case .stop: onSocket ? [.get, .post] : [.post]
        case .reload, .load, .verify, .refresh, .approve: [.post]
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
        case "/cmd/cooldown":
            try items.allow(["pattern", "header"])
            self = .cooldown(pattern: try items.text("pattern"), hasHeader: try items.flag("header"))
        case "/cmd/approve":
            try items.allow(["digest"])
            guard let digest = try items.text("digest").flatMap({ Digest($0) }) else {
                throw AdminQuery.refused("digest: must be the digest of a manifest, such as sha256:…")
            }
            self = .approve(digest)
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
