// Revalidations of tags whose policy has a cooldown: what a tag has moved to is served when its wait is over.

internal import Configuration
internal import OCI

extension TagChecks {
    /// Ends a check whose upstream has said what the tag means.
    func applyCooldown(_ digest: Digest?, _ check: Check) {
        guard let digest else { return pull(check) }
        cooldown.choose(check.name, means: digest, check.policy, from: check.source) { [self] choice in
            switch choice {
            case .newest where digest == check.cached:
                cooldown.tagSet(check.name, to: digest)
                check.finish(.unchanged)
            case .newest: take(digest, newest: digest, check)
            case .older(let older) where older == check.cached:
                check.finish(.held(cooldown.hold(digest, check.policy.cooldown.seconds)))
            case .older(let older): take(older, newest: digest, check)
            case .none(let hold): check.finish(.held(hold))
            }
        }
    }

    /// Ends a check whose upstream has not said what the tag means.
    func fail(_ error: RegistryError, _ check: Check) {
        let failure = TagCheckFailure(error)
        guard check.policy.cooldown != .zero, failure != .deleted else {
            return check.finish(.failed(failure, error))
        }
        takeCached(check.name, check.policy, checked: check.asked) { found in
            check.finish(found.map { .moved($0, isPulled: false) } ?? .failed(failure, error))
        }
    }

    /// Sets a tag to what it has moved to, if its wait is over and it is in the cache: no upstream is needed for that.
    /// - Parameter then: called with the manifest; nil when there is none.
    func takeCached(
        _ name: TagName, _ policy: TagPolicy, checked: Int64, then: @escaping (CachedManifest?) -> Void
    ) {
        guard let digest = cooldown.newer(name, policy) else { return then(nil) }
        context.store.findManifest(digest) { [self] found in
            guard let found else { return then(nil) }
            context.store.whenServable(digest, host: name.host, repository: name.repository) { [self] isServable in
                guard isServable else { return then(nil) }
                set(name, to: digest, checked: checked)
                then(found)
            }
        }
    }

    private func set(_ name: TagName, to digest: Digest, checked: Int64) {
        context.store.setTag(
            host: name.host, repository: name.repository, tag: name.tag, digest: digest, checked: checked)
        cooldown.tagSet(name, to: digest)
    }

    /// Sets the tag to a manifest whose wait is over. It is pulled by its digest, since the tag may mean another one.
    private func take(_ digest: Digest, newest: Digest, _ check: Check) {
        let name = check.name
        let finish: (CachedManifest, Bool) -> Void = { [self] manifest, isPulled in
            set(name, to: digest, checked: check.asked)
            check.finish(.moved(manifest, isPulled: isPulled))
        }
        context.store.findManifest(digest) { [self] found in
            guard let found else { return pull(digest, newest: newest, check, finish) }
            context.store.whenServable(digest, host: name.host, repository: name.repository) { [self] isServable in
                if isServable { finish(found, false) } else { pull(digest, newest: newest, check, finish) }
            }
        }
    }

    private func pull(
        _ digest: Digest, newest: Digest, _ check: Check, _ finish: @escaping (CachedManifest, Bool) -> Void
    ) {
        guard !savesQuota(check) else { return }
        puller.manifest(.digest(digest), from: check.source) { [self] result, _ in
            switch result {
            case .success(let manifest): finish(manifest, true)
            case .failure(let error) where error.status == 404 && digest != newest:
                // The registry has removed it since; there may be a newer one whose wait is over.
                cooldown.tagSet(check.name, to: digest)
                applyCooldown(newest, check)
            case .failure(let error): check.finish(.failed(TagCheckFailure(error), error))
            }
        }
    }
}
