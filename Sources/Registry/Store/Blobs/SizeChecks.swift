// Blobs whose size differs from the one in a manifest. At start, sizes come from the disk, so a blob that was truncated
// while no server ran looks complete, and only manifests show the right size. A manifest can also be wrong, so a
// different size only causes a hash of the blob, and only a wrong hash removes it.

internal import DequeModule
internal import Logging
package import OCI

/// The blobs to hash for that reason: one at a time, and each at most once in the life of a process, which bounds the
/// cost of manifests with a wrong size.
struct SizeChecks {
    /// How long readers of a blob wait for its hash: longer than hashing most layers takes, and well below a client's
    /// timeout. After that the blob is served unchecked, since the manifest may be wrong instead.
    static let readersWaitMilliseconds: UInt64 = 5000

    /// The check of one blob whose hash is not known yet.
    final class Check {
        let statedBytes: Int64
        /// Called with whether the blob is correct.
        var completions: [(Bool) -> Void] = []
        /// Requests for the blob that wait for the result.
        var readers: [() -> Void] = []
        /// Runs while readers wait.
        var timer: Timer?

        init(statedBytes: Int64) { self.statedBytes = statedBytes }

        /// Ends the readers' wait: they get the file as it is.
        func releaseReaders() {
            timer?.close()
            timer = nil
            let waiting = readers
            readers = []
            for read in waiting { read() }
        }
    }

    /// Blobs that were hashed and are correct, as long as they are in the index.
    var verified: Set<Digest> = []
    /// Contains only blobs of the index, each once, so the index's size bounds it.
    var pending: [Digest: Check] = [:]
    var queue: Deque<Digest> = []
    var isHashing = false
}

extension Store {
    /// Whether the store has a descriptor's blob: from memory, or from the disk while recovery has not finished. A blob
    /// whose size differs from the descriptor's is hashed first, which may take a while. If the hash is wrong, the blob
    /// is set aside and the result is false.
    package func hasBlob(_ blob: Descriptor, then: @escaping (Bool) -> Void) {
        switch blobSize(blob.digest) {
        case .absent: loop.deferred.complete(then, false)
        case .present(let sizeBytes):
            // The caller may be about to store a manifest that needs it.
            blobUsed(blob.digest, isDue: true)
            compare(sizeBytes, blob, then)
        case .unknown:
            findBlob(blob.digest) { [self] file in
                if let file { compare(file.sizeBytes, blob, then) } else { then(false) }
            }
        }
    }

    private func compare(_ sizeBytes: Int64, _ blob: Descriptor, _ then: @escaping (Bool) -> Void) {
        guard let statedBytes = blob.sizeBytes, sizeBytes != statedBytes, !isClosing,
            !sizeChecks.verified.contains(blob.digest)
        else { return loop.deferred.complete(then, true) }
        let digest = blob.digest
        if let check = sizeChecks.pending[digest] { return check.completions.append(then) }
        let check = SizeChecks.Check(statedBytes: statedBytes)
        check.completions.append(then)
        sizeChecks.pending[digest] = check
        sizeChecks.queue.append(digest)
        // From here on requests must go through `findBlob`, where they can wait.
        openFiles.remove(digest)
        smallBlobs.remove(digest)
        let timer = Timer(on: loop) { [unowned check] in check.releaseReaders() }
        timer.start(afterMilliseconds: SizeChecks.readersWaitMilliseconds)
        timer.unreference()
        check.timer = timer
        hashNextMismatch()
    }

    /// Whether requests for a blob wait, since its hash is about to be known.
    func isWaitedFor(_ digest: Digest) -> Bool { sizeChecks.pending[digest]?.timer != nil }

    /// Has a request for a blob wait, where its hash is about to be known.
    /// - Returns: false when there is nothing to wait for.
    func waitForSizeCheck(of digest: Digest, then: @escaping () -> Void) -> Bool {
        guard let check = sizeChecks.pending[digest], check.timer != nil else { return false }
        check.readers.append(then)
        return true
    }

    private func hashNextMismatch() {
        while isClosing, let digest = sizeChecks.queue.popFirst() { endSizeCheck(digest, isRight: true) }
        guard !sizeChecks.isHashing, let digest = sizeChecks.queue.popFirst() else { return }
        sizeChecks.isHashing = true
        let content = StoredContent(path: layout.blob(digest), digest: digest, type: nil)
        perform({ () throws(StoreError) in try ContentCheck(content) }) { [self] result in
            switch result {
            case .success(let check): hash(check)
            case .failure(let error): hashed(digest, .unknown(error))
            }
        }
    }

    private func hash(_ check: ContentCheck) {
        guard !isClosing else { return hashed(check.content.digest, .unknown(.closed)) }
        perform({ () throws(StoreError) in check.steps(StoreCheck.stepBytes) }) { [self] result in
            switch result {
            case .success(nil): hash(check)
            case .success(.some(let verdict)): hashed(check.content.digest, verdict)
            case .failure(let error): hashed(check.content.digest, .unknown(error))
            }
        }
    }

    private func hashed(_ digest: Digest, _ verdict: ContentVerdict) {
        sizeChecks.isHashing = false
        switch verdict {
        case .right:
            if blobs[digest] != nil { sizeChecks.verified.insert(digest) }
            logger.notice(
                "store: a manifest has a wrong size for a blob, which is right",
                metadata: [
                    "digest": "\(digest)", "bytes": "\(blobs[digest]?.sizeBytes ?? 0)",
                    "stated": "\(sizeChecks.pending[digest]?.statedBytes ?? 0)",
                ])
            endSizeCheck(digest, isRight: true)
        case .wrong(let fault):
            setAside(fault, foundBy: .size) { [self] result in
                // Nil: another file has got the name meanwhile, and that one was hashed when it was written.
                if case .success(nil) = result {
                    endSizeCheck(digest, isRight: blobs[digest] != nil)
                } else {
                    endSizeCheck(digest, isRight: false)
                }
            }
        case .unknown(let error):
            if !isClosing { logger.error("store: cannot compare blob \(digest) with its digest: \(error)") }
            endSizeCheck(digest, isRight: !error.isMissing)
        }
        hashNextMismatch()
    }

    private func endSizeCheck(_ digest: Digest, isRight: Bool) {
        guard let check = sizeChecks.pending.removeValue(forKey: digest) else { return }
        check.releaseReaders()
        for then in check.completions { then(isRight) }
    }
}

extension ContentCheck {
    /// Bytes read at a time within one job.
    private static let pieceBytes = 256 * 1024

    /// Hashes at least this many bytes, in pieces.
    /// - Returns: nil when there is more to hash.
    func steps(_ count: Int) -> ContentVerdict? {
        withUnsafeTemporaryAllocation(byteCount: ContentCheck.pieceBytes, alignment: 4096) { buffer in
            let end = offset + Int64(count)
            while offset < end {
                if let verdict = step(buffer.count, buffer) { return verdict }
            }
            return nil
        }
    }
}
