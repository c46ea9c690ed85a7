// What every part of a load needs, passed down once.

package import OCI

/// How images are chosen and called.
package struct LoadChoices: Sendable {
    package var platforms: PlatformChoice
    /// The name of an archive's one image, where the archive has none for it.
    package var resolveAs: ImageName?
    /// Nothing may be asked of an upstream: a list's images have to be in the cache.
    package var isAirGapped: Bool
    /// Where the names of files begin that do not begin at the root; nil: where this process works.
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

/// The parts of the server that loading works with.
package struct LoadContext {
    package let loop: EventLoop
    package let offload: Offload
    package let store: Store
    package let puller: Puller
    /// How this process names itself in `Via`.
    package let pseudonym: String

    package init(loop: EventLoop, offload: Offload, store: Store, puller: Puller, pseudonym: String) {
        self.loop = loop
        self.offload = offload
        self.store = store
        self.puller = puller
        self.pseudonym = pseudonym
    }

    /// Where an image's content is to be had.
    func source(of name: ImageName) -> PullSource {
        PullSource(host: name.host, repository: name.repository, via: "1.1 \(pseudonym)")
    }

    /// Makes a name mean a manifest that is in the store. `then` gets why the disk does not have it, or nil.
    func setName(_ name: ImageName, to digest: Digest, then: @escaping (StoreError?) -> Void) {
        switch name.reference {
        case .tag(let tag):
            store.setTag(host: name.host, repository: name.repository, tag: tag, digest: digest, then: then)
        case .digest(let digest):
            store.noteDigest(host: name.host, repository: name.repository, digest: digest, then: then)
        }
    }

    /// The manifest that a name means, if the cache has both.
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
