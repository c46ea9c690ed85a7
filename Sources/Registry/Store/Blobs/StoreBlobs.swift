// Finished blobs: sizes in memory, a cache of open descriptors, and the disk. Content is hashed while it is written and
// gets its final name only after that, so opening checks only the kind and size of a file.

internal import Glibc
internal import Logging
package import OCI

extension Store {
    /// A blob's size, from memory.
    package func blobSize(_ digest: Digest) -> Lookup<Int64> {
        if let blob = blobs[digest] { return .present(blob.sizeBytes) }
        return isRecovered || pendingRemoval[digest] != nil ? .absent : .unknown
    }

    /// The blob's file if it is open already. No allocation, no system call.
    package func cachedBlob(_ digest: Digest) -> OpenFile? { openFiles.value(for: digest) }

    /// A blob that can be had without waiting: open already, or opened now since the kernel has its name in memory.
    package func blobAtOnce(_ digest: Digest) -> OpenFile? {
        if let file = openFiles.value(for: digest) { return file }
        guard let sizeBytes = blobs[digest]?.sizeBytes, pendingRemoval[digest] == nil, opening[digest] == nil,
            !isWaitedFor(digest)
        else { return nil }
        return openAtOnce(layout.blob(digest), digest, sizeBytes)
    }

    /// Finds a blob and opens it; nil when the store does not have it. Opens of one digest at the same time are one.
    ///
    /// Between the lookup and the call of `then`, a pull of the blob may end. So absence is checked again just before
    /// the call: a caller that fetches what is absent would otherwise fetch it a second time.
    package func findBlob(_ digest: Digest, then: @escaping (OpenFile?) -> Void) {
        if waitForSizeCheck(of: digest, then: { [self] in findBlob(digest, then: then) }) { return }
        if let file = blobAtOnce(digest) { return loop.deferred.complete(then, file) }
        let sizeBytes = blobs[digest]?.sizeBytes
        if pendingRemoval[digest] != nil || (sizeBytes == nil && isRecovered) {
            return loop.deferred.enqueue { [self] in then(blobAtOnce(digest)) }
        }
        if opening[digest] != nil {
            opening[digest]?.append(then)
            return
        }
        let path = layout.blob(digest)
        opening[digest] = [then]
        perform({ () throws(StoreError) in
            try BlobOpening.open(path, digest: digest, sizeBytes: sizeBytes)
        }) { result in
            let file = self.finishOpening(digest, result)
            self.loop.deferred.forEach(self.opening.removeValue(forKey: digest) ?? []) {
                $0(file ?? self.blobAtOnce(digest))
            }
        }
    }

    /// Opens an indexed blob on the loop, if the kernel has its name in memory: the number of open files is limited,
    /// and a pool round trip costs ten times as much as opening. Any unusual file is left to the open in the pool.
    private func openAtOnce(_ path: String, _ digest: Digest, _ sizeBytes: Int64) -> OpenFile? {
        guard let descriptor = Disk.openAtOnce(path) else { return nil }
        let status = try? Disk.status(of: descriptor, path)
        let file = OpenFile(descriptor: descriptor, sizeBytes: sizeBytes, device: status?.device ?? 0)
        guard let status, status.faultOfBlob(digest, sizeBytes: sizeBytes) == nil else { return nil }
        openFiles.insert(file, for: digest, weight: 1)
        followFaults(of: file, digest)
        return file
    }

    /// Removes a blob from use at once and moves its file to the quarantine. Readers that hold it open keep it.
    package func quarantineBlob(_ digest: Digest, reason: String) {
        let layout = layout
        performRemoval(
            of: digest, { () throws(StoreError) in try layout.setAside(layout.blob(digest), reason: reason) }
        ) {
            self.countDamage(.read)
            self.reportQuarantine(layout.blob(digest), reason, $0, digest)
        }
    }

    /// Removes a blob from use at once. A new file of that name must wait until `endPendingRemoval`, since the old file
    /// must be gone first. Readers that hold it open keep it.
    /// - Returns: false when it was removed already, so that another caller handles the file.
    func removeFromIndex(_ digest: Digest) -> Bool {
        blobs.remove(digest)
        openFiles.remove(digest)
        smallBlobs.remove(digest)
        sizeChecks.verified.remove(digest)
        guard pendingRemoval[digest] == nil else { return false }
        pendingRemoval[digest] = []
        if !isRecovered { setAsideInRecovery.insert(digest) }
        return true
    }

    func endPendingRemoval(_ digest: Digest) {
        for waiter in pendingRemoval.removeValue(forKey: digest) ?? [] { waiter() }
    }

    /// Removes a blob from the index and runs `work` on its file; a new file of the name waits until that has ended.
    func performRemoval<R: Sendable>(
        of digest: Digest, _ work: @escaping @Sendable () throws(StoreError) -> R,
        then: @escaping (Result<R, StoreError>) -> Void
    ) {
        guard removeFromIndex(digest) else { return }
        perform(work) { result in
            then(result)
            self.endPendingRemoval(digest)
        }
    }

    /// Adds a blob that has got its final name.
    func addBlob(_ digest: Digest, _ file: OpenFile) {
        blobs.set(digest, sizeBytes: file.sizeBytes)
        setAsideInRecovery.remove(digest)
        openFiles.insert(file, for: digest, weight: 1)
        followFaults(of: file, digest)
    }

    private func finishOpening(_ digest: Digest, _ result: Result<BlobOpening, StoreError>) -> OpenFile? {
        var opened: OpenFile?
        if case .success(.opened(let descriptor, let status)) = result {
            opened = OpenFile(
                descriptor: descriptor, sizeBytes: status.sizeBytes, device: status.device, closingIn: offload)
        }
        // A commit or a quarantine may have happened meanwhile; it takes precedence.
        if let newer = openFiles.value(for: digest) { return newer }
        if pendingRemoval[digest] != nil { return nil }
        switch result {
        case .success(.opened):
            if let opened { addBlob(digest, opened) }
        case .success(.missing):
            if blobs[digest] != nil {
                blobs.remove(digest)
                logger.error("store: blob \(digest) has disappeared from the disk")
            }
        case .success(.wrong(let reason)):
            quarantineBlob(digest, reason: reason)
        case .failure(let error):
            logger.error("store: cannot open blob \(digest): \(error)")
        }
        return opened
    }
}

/// The result of opening a blob's file.
private enum BlobOpening: Sendable {
    case opened(Int32, FileStatus)
    case missing
    case wrong(String)

    /// Runs off the loop. `sizeBytes` is the size in the index, or nil if there is none.
    static func open(_ path: String, digest: Digest, sizeBytes: Int64?) throws(StoreError) -> BlobOpening {
        let descriptor: Int32
        do throws(StoreError) {
            descriptor = try Disk.open(path, O_RDONLY)
        } catch {
            if error.isMissing { return .missing }
            if case .system(_, _, ELOOP) = error { return .wrong("symbolic link") }
            if error.isDamage { return .wrong("cannot be read") }
            throw error
        }
        do throws(StoreError) {
            let status = try Disk.status(of: descriptor, path)
            if let reason = status.faultOfBlob(digest, sizeBytes: sizeBytes) {
                Glibc.close(descriptor)
                return .wrong(reason)
            }
            return .opened(descriptor, status)
        } catch {
            Glibc.close(descriptor)
            throw error
        }
    }
}

extension FileStatus {
    /// The reason why this cannot be the blob's file; nil if there is none.
    func faultOfBlob(_ digest: Digest, sizeBytes expected: Int64? = nil) -> String? {
        guard isRegular else { return "not a regular file" }
        if let expected, expected != sizeBytes { return "size is \(sizeBytes), not \(expected)" }
        // A crash on a file system without barriers usually leaves empty files.
        if sizeBytes == 0, digest != Digest.of(UnsafeRawBufferPointer(start: nil, count: 0), digest.algorithm) {
            return "empty"
        }
        return nil
    }

    /// The reason why this cannot be a manifest's file; nil if there is none.
    var faultOfManifest: String? {
        guard isRegular else { return "not a regular file" }
        if sizeBytes == 0 { return "empty" }
        return sizeBytes > Manifest.maximumSizeBytes ? "larger than any manifest" : nil
    }
}
