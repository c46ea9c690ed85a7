// Tags that clients have asked for by HEAD, as containerd and dockerd do before they pull by digest.

internal import DequeModule
internal import OCI

/// Tags whose digest is known from a HEAD while their manifest is not cached yet: a bounded memory.
struct TagHints {
    /// Limit of hints: a client that sends HEADs and never pulls must not fill the memory.
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

    /// Removes and returns the tags known to mean this manifest.
    mutating func take(_ digest: Digest, host: RegistryHost, repository: RepositoryName) -> Set<String> {
        tags.removeValue(forKey: Key(host: host, repository: repository, digest: digest)) ?? []
    }
}
