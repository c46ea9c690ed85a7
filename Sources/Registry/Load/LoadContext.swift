// The dependencies and options shared by all parts of a load.

package import OCI

/// How images are selected and named.
package struct LoadChoices: Sendable {
    package var platforms: PlatformChoice
    /// The name for an archive's only image when the archive has none.
    package var resolveAs: ImageName?
    /// Whether upstream requests are forbidden: a list's images then have to be in the cache.
    package var isAirGapped: Bool
    /// Whether the referrers of a list's images (signatures, SBOMs) are loaded too.
    package var includesReferrers = false
    /// The base of relative file names; nil: the working directory.
    package var directory: String?

    package init(
        platforms: PlatformChoice, resolveAs: ImageName? = nil, isAirGapped: Bool = false, directory: String? = nil
    ) {
        self.platforms = platforms
        self.resolveAs = resolveAs
        self.isAirGapped = isAirGapped
        self.directory = directory
    }
}

/// The parts of the server that a load uses.
package struct LoadContext {
    package let loop: EventLoop
    package let offload: Offload
    package let store: Store
    package let puller: Puller
    /// Which names may be pulled.
    package let names: NameDecisions
    /// Checks cached tags.
    package let tags: TagChecks
    /// This process's name in `Via`.
    package let pseudonym: String

    package init(
        loop: EventLoop, offload: Offload, store: Store, puller: Puller, names: NameDecisions, tags: TagChecks,
        pseudonym: String
    ) {
        self.loop = loop
        self.offload = offload
        self.store = store
        self.puller = puller
        self.names = names
        self.tags = tags
        self.pseudonym = pseudonym
    }

    /// The upstream and repository of an image.
    func source(of name: ImageName) -> PullSource {
        var source = PullSource(host: name.host, repository: name.repository, via: "1.1 \(pseudonym)")
        source.isExplicit = true
        return source
    }

    /// Points a name at a manifest in the store. `then` gets the error of the disk, or nil.
    func setName(_ name: ImageName, to digest: Digest, then: @escaping (StoreError?) -> Void) {
        switch name.reference {
        case .tag(let tag):
            store.setTag(host: name.host, repository: name.repository, tag: tag, digest: digest, then: then)
        case .digest(let digest):
            store.noteDigest(host: name.host, repository: name.repository, digest: digest, then: then)
        }
    }

    /// The manifest of a name, if the cache has both.
    func findImage(_ name: ImageName, then: @escaping (CachedManifest?) -> Void) {
        switch name.reference {
        case .digest(let digest): store.findManifest(digest, then: then)
        case .tag(let tag):
            store.findTag(host: name.host, repository: name.repository, tag: tag) { [store] record in
                guard let record else { return then(nil) }
                store.findManifest(record.digest, then: then)
            }
        }
    }
}
