// What HEADs have said of tags whose manifests are not cached: containerd and dockerd ask for a tag by HEAD, and then
// for its manifest by digest.

internal import DequeModule
package import OCI

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

extension Puller {
    /// Asks which manifest a reference means now. The answer for a tag is remembered until that manifest is pulled by
    /// digest (as containerd and dockerd do next), so that the tag is cached too.
    package func manifestHead(
        _ reference: Reference, from source: PullSource,
        then: @escaping (Result<UpstreamEntity, RegistryError>) -> Void
    ) {
        head(.manifest(.head, reference, source), from: source) { [self] result in
            if case .success(let entity) = result, case .tag(let tag) = reference, let digest = entity.digest {
                remember(tag, means: digest, source)
            }
            then(result)
        }
    }

    private func remember(_ tag: String, means digest: Digest, _ source: PullSource) {
        let time = context.store.tagClock
        let note = { [self] in
            tagHints.note(tag, means: digest, at: time, host: source.host, repository: source.repository)
        }
        context.store.findManifest(digest) { [self] manifest in
            guard manifest != nil else { return note() }
            // A tag must not point to content of other repositories before its own has shown that it has it.
            context.store.whenServable(digest, host: source.host, repository: source.repository) { [self] isServable in
                guard isServable else { return note() }
                context.store.setTag(
                    host: source.host, repository: source.repository, tag: tag, digest: digest, checked: time)
            }
        }
    }

    /// Sets the tags that are known to mean a manifest of this repository.
    func setHintedTags(_ digest: Digest, _ source: PullSource) {
        for (tag, time) in tagHints.take(digest, host: source.host, repository: source.repository) {
            context.store.setTag(
                host: source.host, repository: source.repository, tag: tag, digest: digest, checked: time)
        }
    }
}
