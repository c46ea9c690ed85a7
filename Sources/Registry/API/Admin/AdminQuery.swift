// The parameters of an admin request.

internal import Configuration
internal import OCI

/// The parameters, with a reason for each invalid one.
struct AdminQuery {
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
