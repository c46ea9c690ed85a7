// What clients get for something that is held back by `cooldown`.

package import OCI

/// Something that is not served yet.
package struct CooldownHold: Sendable, Equatable {
    /// The manifest that waits; for a blob, the blob.
    package let digest: Digest
    /// When its wait ends, in seconds since 1970; nil for a blob, and while the clock is not right.
    package let endSeconds: Int64?

    /// The field that names what waits.
    static let fieldName = "X-Ociregistry-Cooldown"

    /// The value of the field: `<digest>; until=<time>`.
    package var field: String { "\(digest); until=\(until)" }

    /// The time at which it ends, or `unknown`.
    var until: String { endSeconds.map(LogTimestamp.secondsText) ?? "unknown" }

    /// Until when it is held back, in words.
    var reason: String {
        endSeconds.map { "held back until \(LogTimestamp.secondsText($0)) (cooldown)" } ?? "held back (cooldown)"
    }

    /// The error for a client.
    /// - Parameter name: what the client asked for.
    func error(_ name: String) -> RegistryError {
        RegistryError(
            status: 403, code: .denied,
            message:
                "\(name) is \(reason): this cache first saw it a short time ago; 'ociregistry approve' ends the wait",
            detail: "\(digest)")
    }

    static func blobError(_ digest: Digest) -> RegistryError {
        RegistryError(
            status: 403, code: .denied,
            message:
                "\(digest) is held back (cooldown): no image that may be pulled here names it; pull the image first")
    }
}

/// Whether a manifest or blob may be served in a repository.
enum CooldownDecision {
    case admitted
    case held(CooldownHold)
    /// The upstream does not give the manifest, so there is nothing to hold back.
    case failed(RegistryError)
}

/// A repository of a host, under the policies of one time.
struct CooldownScope: Hashable {
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
