// What HEADs have said of tags whose manifests are not cached: containerd and dockerd ask for a tag by HEAD, and then
// for its manifest by digest.

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

    /// When the upstream said so, on the store's `tagClock`, by tag.
    private var tags: [Key: [String: Int64]] = [:]
    private var order: Deque<Key> = []

    mutating func note(
        _ tag: String, means digest: Digest, at time: Int64, host: RegistryHost, repository: RepositoryName
    ) {
        let key = Key(host: host, repository: repository, digest: digest)
        if tags[key, default: [:]].updateValue(time, forKey: tag) == nil { order.append(key) }
        if order.count > TagHints.maximumHints, let oldest = order.popFirst() { tags[oldest] = nil }
    }

    /// Removes and returns the tags known to mean this manifest.
    mutating func take(_ digest: Digest, host: RegistryHost, repository: RepositoryName) -> [String: Int64] {
        tags.removeValue(forKey: Key(host: host, repository: repository, digest: digest)) ?? [:]
    }
}
