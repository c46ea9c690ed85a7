// Tags whose digest is known from a HEAD and whose manifest is not here yet.

internal import DequeModule
internal import OCI

/// A small memory of what tags mean, until their manifests arrive.
struct TagHints {
    /// Hints kept; a client that only asks and never pulls must not fill memory.
    static let maximumHints = 4096

    private struct Key: Hashable {
        let host: RegistryHost
        let repository: RepositoryName
        let digest: Digest
    }

    private var tags: [Key: Set<String>] = [:]
    private var order: Deque<Key> = []

    mutating func note(_ tag: String, means digest: Digest, host: RegistryHost, repository: RepositoryName) {
        let key = Key(host: host, repository: repository, digest: digest)
        if tags[key, default: []].insert(tag).inserted { order.append(key) }
        if order.count > TagHints.maximumHints, let oldest = order.popFirst() { tags[oldest] = nil }
    }

    /// The tags known to mean this manifest; they are forgotten here.
    mutating func take(_ digest: Digest, host: RegistryHost, repository: RepositoryName) -> Set<String> {
        tags.removeValue(forKey: Key(host: host, repository: repository, digest: digest)) ?? []
    }
}
