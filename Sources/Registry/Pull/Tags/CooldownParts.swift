// What the admitted manifests of a repository name: it is read when something is asked for that is not known to be
// served. After a restart the manifests are found again by their names on the disk.

internal import Configuration
internal import OCI

extension Cooldown {
    /// Calls `then` later with whether something is admitted, once all admitted manifests of the repository have been
    /// read for what they name.
    func whenNamed(
        _ digest: Digest, _ place: CooldownPlace, _ cooldown: Int64, then: @escaping (Bool) -> Void
    ) {
        readRoots(place) { [self] in
            let now = loop.nowMilliseconds
            let isRecent = scanned[place].map { now &- $0 < Cooldown.scanPauseMilliseconds } ?? false
            guard !admitted.contains(digest, place.text), !isRecent else {
                return then(admitted.contains(digest, place.text))
            }
            if scanned.count >= Cooldown.maximumScans { scanned = [:] }
            scanned[place] = now
            scan(place, cooldown) { [self] in
                readRoots(place) { [self] in then(admitted.contains(digest, place.text)) }
            }
        }
    }

    private func readRoots(_ place: CooldownPlace, then: @escaping () -> Void) {
        guard reading[place] == nil else {
            reading[place]?.append { [self] in readRoots(place, then: then) }
            return
        }
        guard let digests = roots.removeValue(forKey: place), !digests.isEmpty else {
            return loop.deferred.enqueue(then)
        }
        reading[place] = []
        var found: [CachedManifest] = []
        var missing: [Digest] = []
        var left = digests.count
        for digest in digests {
            store.findManifest(digest) { [self] manifest in
                if let manifest { found.append(manifest) } else { missing.append(digest) }
                left -= 1
                guard left == 0 else { return }
                addParts(of: found, place) { [self] hasMore in
                    let waiting = reading.removeValue(forKey: place) ?? []
                    if hasMore { readRoots(place, then: then) } else { loop.deferred.enqueue(then) }
                    for digest in missing { addRoot(digest, place) }
                    loop.deferred.forEach(waiting) { $0() }
                }
            }
        }
    }

    /// - Parameter then: called with whether there are new manifests to be read.
    private func addParts(of manifests: [CachedManifest], _ place: CooldownPlace, then: @escaping (Bool) -> Void) {
        guard !manifests.isEmpty else { return then(false) }
        let bodies = manifests.map { ($0.sharedBody, $0.mediaType.text) }
        puller.context.offload.run {
            bodies.compactMap { try? Manifest.decode($0.bytes, contentType: $1) }
        } then: { [self] (result: Result<[Manifest], any Error>) in
            var hasMore = false
            for manifest in (try? result.get()) ?? [] {
                for child in manifest.manifests where !admitted.contains(child.digest, place.text) {
                    admit(child.digest, in: place)
                    hasMore = true
                }
                for blob in manifest.ownBlobs { admit(blob.digest, in: place, namesParts: false) }
            }
            then(hasMore)
        }
    }

    /// Admits the manifests of a repository's names on the disk that may be served.
    private func scan(_ place: CooldownPlace, _ cooldown: Int64, then: @escaping () -> Void) {
        let policies = tags.policies
        store.namedManifests(host: place.host, repository: place.repository) { [self] named in
            puller.context.offload.run {
                named.map { named in
                    named.tags.map { tag in
                        policies.decide(host: place.host, repository: place.repository, tag: tag).cooldown.seconds
                    }.min()
                }
            } then: { [self] (result: Result<[Int64?], any Error>) in
                for (named, shortest) in zip(named, (try? result.get()) ?? []) {
                    if let seconds = named.fileSeconds { see(named.digest, fileSeconds: seconds) }
                    let ofName = min(shortest ?? cooldown, cooldown)
                    let isServed =
                        ofName == 0 || isOver(named.digest, ofName)
                        || store.ledger?.isAdmitted(named.digest, in: place.text) == true
                    if isServed { admit(named.digest, in: place) }
                }
                then()
            }
        }
    }
}
