// What the admitted manifests of a repository name: it is read when something is asked for that is not known to be
// served. After a restart the manifests are found again by their names on the disk.

internal import Configuration
internal import OCI

extension Cooldown {
    /// Calls `then` later with whether something is admitted, once all admitted manifests of the repository have been
    /// read for what they name.
    func whenNamed(
        _ digest: Digest, _ scope: CooldownScope, _ cooldown: Int64, then: @escaping (Bool) -> Void
    ) {
        readManifests(scope) { [self] in
            guard !admitted.contains(digest, scope.text) else { return then(true) }
            whenScanned(scope, cooldown) { [self] in
                readManifests(scope) { [self] in then(admitted.contains(digest, scope.text)) }
            }
        }
    }

    /// Calls `then` when the repository's names have been searched a short time ago.
    private func whenScanned(_ scope: CooldownScope, _ cooldown: Int64, then: @escaping () -> Void) {
        guard scanning[scope] == nil else {
            scanning[scope]?.append(then)
            return
        }
        let now = loop.nowMilliseconds
        if let last = scanned[scope], now &- last < Cooldown.scanPauseMilliseconds { return then() }
        scanning[scope] = [then]
        scan(scope, cooldown) { [self] in
            if scanned.count >= Cooldown.maximumScans { scanned = [:] }
            scanned[scope] = now
            loop.deferred.forEach(scanning.removeValue(forKey: scope) ?? []) { $0() }
        }
    }

    /// Manifests that are read at once.
    private static let batch = 64

    /// - Parameter absent: manifests that were not found by this call.
    private func readManifests(_ scope: CooldownScope, absent: Set<Digest> = [], then: @escaping () -> Void) {
        guard reads[scope] == nil else {
            reads[scope]?.append { [self] in readManifests(scope, then: then) }
            return
        }
        // Those that are not in the cache stay until they are.
        let digests = nextUnread(scope, absent)
        guard !digests.isEmpty else { return loop.deferred.enqueue(then) }
        unread[scope]?.subtract(digests)
        if unread[scope]?.isEmpty == true { unread[scope] = nil }
        reads[scope] = []
        var found: [CachedManifest] = []
        var absent = absent
        var left = digests.count
        for digest in digests {
            store.findManifest(digest) { [self] manifest in
                if let manifest {
                    found.append(manifest)
                } else {
                    absent.insert(digest)
                    addUnread(digest, scope)
                }
                left -= 1
                guard left == 0 else { return }
                addParts(of: found, scope) { [self] in
                    let waiting = reads.removeValue(forKey: scope) ?? []
                    readManifests(scope, absent: absent, then: then)
                    loop.deferred.forEach(waiting) { $0() }
                }
            }
        }
    }

    /// Manifests to read next.
    private func nextUnread(_ scope: CooldownScope, _ absent: Set<Digest>) -> [Digest] {
        var digests: [Digest] = []
        for digest in unread[scope] ?? [] where store.mayHaveManifest(digest) && !absent.contains(digest) {
            digests.append(digest)
            if digests.count == Cooldown.batch { break }
        }
        return digests
    }

    private func addParts(of manifests: [CachedManifest], _ scope: CooldownScope, then: @escaping () -> Void) {
        // The entries of a signature's index wait by themselves.
        let named = manifests.filter { manifest in
            !manifest.mediaType.isIndex || store.ledger?.isSignature(manifest.digest, in: scope.text) != true
        }
        let bodies = named.map { ($0.sharedBody, $0.mediaType.text) }
        puller.context.offload.run {
            bodies.compactMap { try? Manifest.decode($0.bytes, contentType: $1) }
        } then: { [self] (result: Result<[Manifest], any Error>) in
            for manifest in (try? result.get()) ?? [] {
                for child in manifest.manifests { admit(child.digest, in: scope) }
                for blob in manifest.ownBlobs { admit(blob.digest, in: scope, namesParts: false) }
            }
            then()
        }
    }

    /// Admits the manifests of a repository's names on the disk that may be served.
    private func scan(_ scope: CooldownScope, _ cooldown: Int64, then: @escaping () -> Void) {
        let policies = tags.policies
        store.namedManifests(host: scope.host, repository: scope.repository) { [self] named in
            puller.context.offload.run {
                named.map { named in
                    named.tags.map { tag in
                        policies.decide(host: scope.host, repository: scope.repository, tag: tag).cooldown.seconds
                    }.min()
                }
            } then: { [self] (result: Result<[Int64?], any Error>) in
                admit(zip(named, (try? result.get()) ?? []).map { ($0, $1 ?? cooldown) }[...], scope, cooldown, then)
            }
        }
    }

    /// Names that are decided in one iteration of the loop.
    private static let namesPerStep = 500

    /// - Parameter named: manifests, each with the shortest cooldown of its names.
    private func admit(
        _ named: ArraySlice<(manifest: NamedManifest, cooldown: Int64)>, _ scope: CooldownScope, _ cooldown: Int64,
        _ then: @escaping () -> Void
    ) {
        for (manifest, ofName) in named.prefix(Cooldown.namesPerStep) {
            if let seconds = manifest.fileSeconds { recordFirstSeen(manifest.digest, fileSeconds: seconds) }
            let shortest = min(ofName, cooldown)
            let isServed =
                shortest == 0 || isOver(manifest.digest, shortest)
                || store.ledger?.isAdmitted(manifest.digest, in: scope.text) == true
            if isServed { admit(manifest.digest, in: scope) }
        }
        let rest = named.dropFirst(Cooldown.namesPerStep)
        guard !rest.isEmpty else { return then() }
        loop.deferred.enqueue { [self] in admit(rest, scope, cooldown, then) }
    }
}
