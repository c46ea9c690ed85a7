// Handling of damaged content: it is removed from the indexes and from memory, so that the next request is a miss and
// pulls it again. Its file is moved to the quarantine, and the damage is logged and counted once.

internal import Logging
internal import OCI

extension Store {
    /// Counts damage that was found.
    func countDamage(_ finder: DamageFinder) { damageCounts[Int(finder.rawValue)] &+= 1 }

    /// Connects a blob's file with the store: a fault that a reader reports removes the blob from the index.
    func followFaults(of file: OpenFile, _ digest: Digest) {
        // A reader may have reported a fault while the file still belonged to the ingest.
        if let fault = file.fault {
            return loop.deferred.enqueue { [self] in blobHasFault(digest, file, fault) }
        }
        // Unowned: readers of a file retain the store too, and a weak reference would make every use slower.
        file.onFault = { [unowned self] file, fault in blobHasFault(digest, file, fault) }
    }

    private func blobHasFault(_ digest: Digest, _ file: OpenFile, _ fault: FileFault) {
        let current = openFiles.value(for: digest)
        // If another file has the name by now, the faults of this one do not matter.
        guard !isClosing, current == nil || current === file else { return }
        let (path, reason, descriptor) = (layout.blob(digest), fault.text(sizeBytes: file.sizeBytes), file.descriptor)
        guard fault.isDamage else {
            // The next request opens the file again.
            openFiles.remove(digest)
            return logger.error("store: \(path.debugDescription): \(reason)", metadata: ["digest": "\(digest)"])
        }
        let found = ContentFault(path: path, reason: reason, digest: digest, type: nil, identity: nil)
        let layout = layout
        setAsideBlob(
            found, .read,
            { () throws(StoreError) in
                try layout.setAside(found, ifStill: Disk.status(of: descriptor, path).identity)
            }
        ) { _ in
            // The descriptor must stay open until here.
            withExtendedLifetime(file) {}
        }
    }

    /// Removes damaged content from the indexes and moves its file to the quarantine.
    /// - Parameter then: gets the new path; nil when the damaged file is not there any more.
    func setAside(
        _ fault: ContentFault, foundBy finder: DamageFinder, then: @escaping (Result<String?, StoreError>) -> Void
    ) {
        let layout = layout
        let work: @Sendable () throws(StoreError) -> String? = { () throws(StoreError) in
            try layout.setAside(fault, ifStill: fault.identity)
        }
        if let type = fault.type {
            setAsideManifest(fault, finder, type, work, then)
        } else {
            setAsideBlob(fault, finder, work, then)
        }
    }

    /// Removes a blob. Readers keep the file that they have open; the name is free once the file has been moved.
    private func setAsideBlob(
        _ fault: ContentFault, _ finder: DamageFinder, _ work: @escaping @Sendable () throws(StoreError) -> String?,
        _ then: @escaping (Result<String?, StoreError>) -> Void
    ) {
        let known = blobs[fault.digest]
        // Removed, or about to be removed, since it was checked.
        guard pendingRemoval[fault.digest] == nil, known != nil || !isRecovered else { return then(.success(nil)) }
        performRemoval(of: fault.digest, work) { [self] result in
            switch result {
            case .success(.some(let target)): damageFound(fault, finder, .success(target))
            case .success(nil):
                // Another file has got the name meanwhile.
                if let known { blobs.set(fault.digest, sizeBytes: known.sizeBytes) }
            case .failure(let error): damageFound(fault, finder, .failure(error))
            }
            then(result)
        }
    }

    /// Removes a manifest, in order with the writes. A manifest in memory was correct when it was read, and is written
    /// again.
    private func setAsideManifest(
        _ fault: ContentFault, _ finder: DamageFinder, _ type: MediaType,
        _ work: @escaping @Sendable () throws(StoreError) -> String?,
        _ then: @escaping (Result<String?, StoreError>) -> Void
    ) {
        workBegins()
        publisher.exclusively(work) { [self] result in
            switch result {
            case .success(nil): break
            case .success(.some(let target)):
                damageFound(fault, finder, .success(target))
                if manifests[fault.digest]?.detail == type { manifests[fault.digest] = nil }
                if !isRecovered { setAsideInRecovery.insert(fault.digest) }
                if let manifest = manifestCache.value(for: fault.digest), manifest.mediaType == type {
                    writeManifest(manifest) { _ in }
                }
            case .failure(let error): damageFound(fault, finder, .failure(error))
            }
            then(result)
            workEnds()
        }
    }

    private func damageFound(_ fault: ContentFault, _ finder: DamageFinder, _ result: Result<String, StoreError>) {
        countDamage(finder)
        reportQuarantine(fault.path, fault.reason, result, fault.digest)
    }

    /// Logs the quarantine of a damaged file.
    /// - Parameter digest: the digest that the file should have; nil for a file that is not content.
    func reportQuarantine(
        _ path: String, _ reason: String, _ result: Result<String, StoreError>, _ digest: Digest? = nil
    ) {
        let metadata: Logger.Metadata = digest.map { ["digest": "\($0)"] } ?? [:]
        switch result {
        case .success(let target):
            setAsideCount &+= 1
            logger.error(
                "store: set aside \(path.debugDescription): \(reason); now \(target.debugDescription)",
                metadata: metadata)
        case .failure(let error) where error.isMissing:
            logger.error("store: \(path.debugDescription): \(reason); the file is gone", metadata: metadata)
        case .failure(let error):
            logger.error(
                "store: \(path.debugDescription): \(reason); cannot be set aside: \(error)", metadata: metadata)
        }
    }
}

extension Layout {
    /// Moves a damaged file into the quarantine, if the path still refers to that file.
    /// - Returns: its new path; nil when the path refers to another file, or to none.
    fileprivate func setAside(_ fault: ContentFault, ifStill identity: InodeIdentity?) throws(StoreError) -> String? {
        do throws(StoreError) {
            guard try Disk.status(at: fault.path).identity == identity else { return nil }
            return try setAside(fault.path, reason: fault.reason)
        } catch {
            if error.isMissing { return nil }
            throw error
        }
    }
}
