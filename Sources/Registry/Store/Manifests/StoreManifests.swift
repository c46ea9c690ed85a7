// Manifests: an index of all, the recently used in memory ready to be sent, the others on disk. They are small, so a
// manifest read from the disk is hashed again, and manifests in memory are always correct.

internal import Glibc
internal import Logging
package import OCI

extension Store {
    /// A manifest that is available without blocking: from memory, or a small one from the page cache.
    package func manifestAtOnce(_ digest: Digest) -> CachedManifest? {
        if let manifest = manifestCache.value(for: digest) { return manifest }
        guard loading[digest] == nil, let known = manifests[digest],
            let bytes = ManifestFile.loadAtOnce(digest, known.detail, known.sizeBytes, layout)
        else { return nil }
        return finishLoading(digest, .success(.found(known.detail, bytes)))
    }

    /// Finds a manifest in memory or on disk; nil when the store does not have it. Concurrent loads of one digest share
    /// one job. A file that does not hash to its name is moved to the quarantine, and the result is nil. As in
    /// `findBlob`, absence is checked again just before the call.
    package func findManifest(_ digest: Digest, then: @escaping (CachedManifest?) -> Void) {
        if let manifest = manifestAtOnce(digest) { return loop.deferred.complete(then, manifest) }
        let known = manifests[digest]?.detail
        if known == nil && isRecovered {
            return loop.deferred.enqueue { [self] in then(manifestAtOnce(digest)) }
        }
        if loading[digest] != nil {
            loading[digest]?.append(then)
            return
        }
        loading[digest] = [then]
        let types = known.map { [$0] } ?? MediaType.allCases
        let layout = layout
        perform({ () throws(StoreError) in try ManifestFile.load(digest, types, layout) }) { result in
            let manifest = self.finishLoading(digest, result)
            self.loop.deferred.forEach(self.loading.removeValue(forKey: digest) ?? []) {
                $0(manifest ?? self.manifestAtOnce(digest))
            }
        }
    }

    /// Adds a manifest whose digest the caller has verified. It is in memory and served at once (the return value);
    /// `then` reports whether it is also on disk. If the disk has no space, it stays in memory until the cache needs
    /// the room.
    /// - Parameter blobs: its config and layers, which a running prune must keep.
    @discardableResult
    package func putManifest(
        _ bytes: [UInt8], digest: Digest, mediaType: MediaType, blobs: [Digest] = [],
        then: @escaping (Result<CachedManifest, StoreError>) -> Void = { _ in }
    ) -> CachedManifest {
        pruning?.protected.formUnion(blobs)
        pruning?.touched.insert(digest)
        if let manifest = manifestCache.value(for: digest), manifest.mediaType == mediaType, manifests[digest] != nil {
            loop.deferred.complete(then, .success(manifest))
            return manifest
        }
        pruning?.stored.insert(digest)
        removedWhileLoading.remove(digest)
        let manifest = CachedManifest(digest: digest, mediaType: mediaType, body: bytes)
        manifestCache.insert(manifest, for: digest, weight: manifest.weight, isPinned: true)
        touch(manifest)
        guard !isClosing else {
            loop.deferred.complete(then, .failure(.closed))
            return manifest
        }
        manifestsInWriting[digest, default: []] += blobs
        evictionBackOff.mayLeave(inMilliseconds: millisecondsToLeaseEnd(of: digest), now: loop.nowMilliseconds)
        writeManifest(manifest) { [self] in
            manifestsInWriting[digest] = nil
            then($0)
        }
        return manifest
    }

    func writeManifest(_ manifest: CachedManifest, _ then: @escaping (Result<CachedManifest, StoreError>) -> Void) {
        let digest = manifest.digest
        var write = Publisher.Write(
            directory: layout.manifestDirectory(digest, manifest.mediaType), name: digest.hex,
            content: .body(manifest.sharedBody))
        if let former = manifests[digest]?.detail, former != manifest.mediaType {
            write.obsolete = layout.manifest(digest, former)
        }
        workBegins()
        publish(write) { [self] outcome in
            contentCount &+= 1
            manifestCache.unpin(digest)
            // A file with its final name takes room, even if a crash could still lose the name.
            if outcome.isNamed {
                manifests[digest] = .init(sizeBytes: Int64(manifest.sizeBytes), detail: manifest.mediaType)
            }
            if let error = outcome.error {
                noteFailure(error, bytes: Int64(manifest.sizeBytes))
                let state = outcome.isNamed ? "may be lost by a crash" : "is kept in memory only"
                logger.error("store: manifest \(digest) \(state): \(error)")
                then(.failure(error))
            } else {
                keepBelowBudget()
                then(.success(manifest))
            }
            workEnds()
        }
    }

    /// Publishes a name or a manifest, which a running prune must then keep.
    func publish(_ write: Publisher.Write, then: @escaping (Publisher.Outcome) -> Void) {
        let path = "\(write.directory)/\(write.name)"
        pruning?.published.insert(path)
        publisher.publish(write) { [self] outcome in
            if !outcome.isNamed { pruning?.published.remove(path) }
            then(outcome)
        }
    }

    private func finishLoading(_ digest: Digest, _ result: Result<ManifestFile, StoreError>) -> CachedManifest? {
        let isRemoved = removedWhileLoading.remove(digest) != nil
        // A manifest may have been added meanwhile.
        if let manifest = manifestCache.value(for: digest) { return manifest }
        switch result {
        case .success(.found(let type, let bytes)):
            let manifest = CachedManifest(digest: digest, mediaType: type, body: bytes)
            if isRemoved { return manifest }
            manifests[digest] = .init(sizeBytes: Int64(manifest.sizeBytes), detail: type)
            manifestCache.insert(manifest, for: digest, weight: manifest.weight)
            return manifest
        case .success(.wrong(let type, let reason)):
            manifests[digest] = nil
            quarantineManifest(digest, type, reason)
        case .success(.missing):
            manifests[digest] = nil
        case .failure(let error):
            logger.error("store: cannot read manifest \(digest): \(error)")
        }
        return nil
    }

    /// Checks the file again before moving it, in order with the writes: it may have been replaced by a good one.
    private func quarantineManifest(_ digest: Digest, _ type: MediaType, _ reason: String) {
        let layout = layout
        let path = layout.manifest(digest, type)
        workBegins()
        publisher.exclusively({ () throws(StoreError) -> String? in
            guard ManifestFile.isWrong(digest, type, layout) else { return nil }
            return try layout.setAside(path, reason: reason)
        }) { [self] result in
            switch result {
            case .success(nil): break
            case .success(.some(let target)):
                countDamage(.read)
                reportQuarantine(path, reason, .success(target), digest)
            case .failure(let error):
                countDamage(.read)
                reportQuarantine(path, reason, .failure(error), digest)
            }
            workEnds()
        }
    }
}

/// The result of reading a manifest from the disk. All but `loadAtOnce` runs off the loop.
private enum ManifestFile: Sendable {
    case found(MediaType, [UInt8])
    case wrong(MediaType, reason: String)
    case missing

    /// Largest manifest read and hashed on the loop: that takes 10 µs, a fifth of a pool round trip.
    static let atOnceBytes: Int64 = 16 * 1024

    /// Reads a small manifest that is completely in the page cache; any unusual file is left to `load`.
    static func loadAtOnce(_ digest: Digest, _ type: MediaType, _ sizeBytes: Int64, _ layout: Layout) -> [UInt8]? {
        guard sizeBytes <= atOnceBytes, let descriptor = Disk.openAtOnce(layout.manifest(digest, type)) else {
            return nil
        }
        defer { close(descriptor) }
        // The extra byte detects a file that has grown.
        let bytes = [UInt8](unsafeUninitializedCapacity: Int(sizeBytes) + 1) { buffer, count in
            count = max(0, PageCache.read(descriptor, into: UnsafeMutableRawBufferPointer(buffer), buffer.count, at: 0))
        }
        guard bytes.count == Int(sizeBytes) else { return nil }
        return bytes.withUnsafeBytes { Digest.of($0, digest.algorithm) } == digest ? bytes : nil
    }

    /// Tries the types in order.
    static func load(_ digest: Digest, _ types: [MediaType], _ layout: Layout) throws(StoreError) -> ManifestFile {
        for type in types {
            let path = layout.manifest(digest, type)
            do throws(StoreError) {
                let bytes = try Disk.readFile(path, maximumBytes: Manifest.maximumSizeBytes)
                let actual = bytes.withUnsafeBytes { Digest.of($0, digest.algorithm) }
                return actual == digest ? .found(type, bytes) : .wrong(type, reason: "hash mismatch")
            } catch {
                if error.isMissing { continue }
                if case .unusable(_, let reason) = error { return .wrong(type, reason: reason) }
                if case .system(_, _, ELOOP) = error { return .wrong(type, reason: "symbolic link") }
                if error.isDamage { return .wrong(type, reason: "cannot be read") }
                throw error
            }
        }
        return .missing
    }

    /// Whether the file at the path is still wrong. A file that is temporarily unreadable stays where it is.
    static func isWrong(_ digest: Digest, _ type: MediaType, _ layout: Layout) -> Bool {
        guard case .wrong = try? load(digest, [type], layout) else { return false }
        return true
    }
}
