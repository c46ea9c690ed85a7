// Blobs whose size is not what a manifest says. At a start sizes come from the disk, so that a blob that was cut off
// while no server ran looks whole, and only the manifests that use it state another size. Anybody can write a manifest,
// so another size is a reason to hash the blob, and only a wrong hash removes it.

internal import DequeModule
internal import Logging
package import OCI

/// Blobs that are hashed for that reason, one at a time, each at most once in the life of a process: a manifest with
/// a wrong size costs no more than that.
struct SizeChecks {
    /// How long readers of a blob wait for its hash: longer than most layers take, and well below the time after which
    /// clients give up. A blob that takes longer is served before its hash is known: the manifest may be wrong instead.
    static let readersWaitMilliseconds: UInt64 = 5000

    /// One blob that has not been hashed to its end.
    final class Check {
        let statedBytes: Int64
        /// Called with whether the blob is right.
        var completions: [(Bool) -> Void] = []
        /// Requests for the blob that wait.
        var readers: [() -> Void] = []
        /// Runs while readers wait.
        var timer: Timer?

        init(statedBytes: Int64) { self.statedBytes = statedBytes }

        /// Readers wait no longer: they are given the file as it is.
        func releaseReaders() {
            timer?.close()
            timer = nil
            let waiting = readers
            readers = []
            for read in waiting { read() }
        }
    }

    /// Blobs that were hashed and are right, as long as they are in the index.
    var verified: Set<Digest> = []
    /// Only blobs of the index are in here, each once, so that the index's size is the bound.
    var pending: [Digest: Check] = [:]
    var queue: Deque<Digest> = []
    var isHashing = false
}

extension Store {
    /// Whether the store has the blob that a descriptor means: from memory, or from the disk while recovery has not
    /// finished. Where its size is another than the descriptor's, it is hashed first, which may take a while; when it
    /// is wrong, it is set aside and the answer is no.
    package func hasBlob(_ blob: Descriptor, then: @escaping (Bool) -> Void) {
        switch blobSize(blob.digest) {
        case .absent: loop.deferred.complete(then, false)
        case .present(let sizeBytes): compare(sizeBytes, blob, then)
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
        // Requests come by `findBlob` from here on, where they can wait.
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
                // Nil: another file has got the name since, and that one was hashed when it was written.
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
    /// As much of what one step reads at a time as one job of the pool does well with.
    private static let pieceBytes = 256 * 1024

    /// Hashes about so many bytes in pieces.
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
