// What clients get for something that is held back by `cooldown`.

package import OCI

/// Something that is not served yet.
package struct CooldownHold: Sendable, Equatable {
    /// The manifest that waits; for a blob, the blob.
    package let digest: Digest
    /// When its wait ends, in seconds since 1970; nil when that is not known: the clock is not right, or it is a blob
    /// whose image is not known.
    package let endSeconds: Int64?

    /// The field that names what waits.
    static let fieldName = "X-Ociregistry-Cooldown"

    /// The value of the field: `<digest>; until=<time>`.
    package var field: String { "\(digest); until=\(until)" }

    private var until: String { endSeconds.map(LogTimestamp.secondsText) ?? "unknown" }

    /// Until when it is held back, in words.
    var reason: String {
        endSeconds.map { "held back until \(LogTimestamp.secondsText($0)) (cooldown)" } ?? "held back (cooldown)"
    }

    /// The error for a client.
    /// - Parameter name: what the client asked for.
    func error(_ name: String) -> RegistryError {
        RegistryError(
            status: 403, code: .denied, message: "\(name) is \(reason): it was published a short time ago",
            detail: "\(digest)")
    }

    static func blobError(_ digest: Digest) -> RegistryError {
        RegistryError(
            status: 403, code: .denied,
            message: "\(digest) is held back (cooldown): no image that may be pulled here names it")
    }
}

/// Whether a manifest or blob may be served in a repository.
enum CooldownVerdict {
    case admitted
    case held(CooldownHold)
    /// The upstream does not give the manifest, so there is nothing to hold back.
    case failed(RegistryError)
}

/// A repository of a host, under the policies of one time.
struct CooldownPlace: Hashable {
    let host: RegistryHost
    let repository: RepositoryName
    /// `host/name`
    let text: String
    /// The number of the policies: what was decided under former ones admits nothing.
    let generation: UInt64

    init(_ host: RegistryHost, _ repository: RepositoryName, generation: UInt64) {
        self.host = host
        self.repository = repository
        self.generation = generation
        text = "\(host)/\(repository)"
    }

    func name(tag: String) -> TagName { TagName(host: host, repository: repository, tag: tag) }
}

extension TagName {
    /// The manifest that a signature's tag is about (`sha256-<hex>`, also with `.sig`, `.att` and `.sbom`); nil for
    /// other tags.
    var subject: Digest? {
        guard let dash = tag.firstIndex(of: "-") else { return nil }
        let hex = tag[tag.index(after: dash)...].prefix { $0 != "." }
        guard let digest = Digest("\(tag[..<dash]):\(hex)") else { return nil }
        return ReferrersIndex.tags(of: digest).contains(tag) ? digest : nil
    }
}
