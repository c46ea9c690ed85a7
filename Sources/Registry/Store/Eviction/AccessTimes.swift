// The times at which manifests, and blobs without a manifest (Blobs/BlobUses), were last served: in memory, and written
// to one file (AccessFile) every minute, so that a hit costs no write. A crash loses the last minute, so content looks
// at most a minute older than it is.

internal import Logging
internal import OCI

/// The last use of each manifest, and of each blob that is not known to have one, in seconds since 1970.
struct AccessTimes {
    /// The precision of last uses: content used again within this time is not recorded again.
    static let granularityMilliseconds: UInt64 = 30_000
    static let granularitySeconds = Int64(granularityMilliseconds / 1000)
    /// How often new uses are appended to the file.
    static let flushMilliseconds: UInt64 = 60_000
    /// Digests without content that are dropped at once, so that the loop is not blocked.
    static let maximumForgotten = 4096

    private(set) var seconds = DigestMap<Int64>()
    /// Uses that are not in the file yet: at most one entry per digest, however slow the disk is.
    private var unwritten = DigestMap<Int64>()

    /// The file as last seen. Its size counts as used by the cache.
    var file = AccessFile.State()
    /// Whether the file's content is in memory; it must not be rewritten before.
    var isLoaded = false
    /// Whether a job uses the file.
    var isBusy = false
    /// Whether appending has failed: the file may end with half a line, or belong to another user.
    var needsRewriting = false

    var hasUnwritten: Bool { !unwritten.isEmpty }

    mutating func touch(_ digest: Digest, at now: Int64) {
        seconds[digest] = now
        unwritten[digest] = now
    }

    mutating func forget(_ digest: Digest) {
        seconds[digest] = nil
        unwritten[digest] = nil
    }

    /// Adds the times from the disk; times in memory are newer.
    mutating func merge(_ former: DigestMap<Int64>) {
        let newer = seconds
        seconds = former
        // There are few of them: the file is read right after the start.
        newer.forEach { seconds[$0] = $1 }
    }

    /// Takes the uses that must be appended to the file.
    mutating func takeUnwritten() -> DigestMap<Int64> {
        defer { unwritten = [:] }
        return unwritten
    }

    /// Restores uses that could not be written, except for content that was used again meanwhile.
    mutating func giveBack(_ uses: DigestMap<Int64>) {
        uses.forEach { digest, time in
            if unwritten[digest] == nil, seconds[digest] != nil { unwritten[digest] = time }
        }
    }
}

extension Store {
    /// Images served this recently are not removed: a client that has the manifest will request the layers, and large
    /// layers on slow connections take minutes.
    package static let leaseSeconds: Int64 = 600

    /// Records that a manifest is being served. It allocates at most twice a minute, and while images are being
    /// removed.
    package func touch(_ manifest: CachedManifest) {
        let now = loop.nowMilliseconds
        guard now >= manifest.nextTouchMilliseconds || pruning != nil else { return }
        pruning?.touched.insert(manifest.digest)
        // During a prune every call gets here; recording each use would add no precision.
        guard now >= manifest.nextTouchMilliseconds else { return }
        manifest.nextTouchMilliseconds = now + AccessTimes.granularityMilliseconds
        accessTimes.touch(manifest.digest, at: EventLoop.unixSeconds)
    }

    /// Reads the times of earlier runs, then keeps the file up to date.
    func startAccessTimes() {
        loadAccessTimes()
        let timer = Timer(on: loop) { [unowned self] in
            saveAccessTimes()
            saveChecks()
        }
        timer.start(afterMilliseconds: AccessTimes.flushMilliseconds, everyMilliseconds: AccessTimes.flushMilliseconds)
        timer.unreference()
        accessTimer = timer
    }

    /// Performs the next operation that the file needs, one at a time: operations must not pile up behind a hanging
    /// disk.
    func saveAccessTimes() {
        retryProofs()
        keepLedger()
        guard !accessTimes.isBusy else { return }
        if !accessTimes.isLoaded {
            loadAccessTimes()
        } else if accessTimes.needsRewriting
            || accessTimes.file.isWorthRewriting(entries: accessTimes.seconds.count) && isRecovered
        {
            rewriteAccessTimes()
        } else {
            flushAccessTimes()
        }
    }

    private func loadAccessTimes() {
        let (layout, now) = (layout, EventLoop.unixSeconds)
        withAccessFile({ () throws(StoreError) in try AccessFile.load(layout, now: now) }) { [self] result in
            switch result {
            case .success(let content):
                accessTimes.isLoaded = true
                accessTimes.merge(content.uses)
                accessTimes.file = content.state
                accessTimes.needsRewriting = content.isTorn
                if let error = content.error { logger.error("store: last uses cannot be written: \(error)") }
                guard content.skippedBytes > 0 else { return }
                logger.warning(
                    "store: ACCESS was too large: the oldest last uses are not known",
                    metadata: ["skipped_bytes": "\(content.skippedBytes)"])
            case .failure(let error): logger.error("store: last uses are not known yet: \(error)")
            }
        }
    }

    /// Performs the last operation before the store closes.
    func finishAccessTimes() {
        accessTimer?.close()
        accessTimer = nil
        if accessTimes.needsRewriting, accessTimes.isLoaded { rewriteAccessTimes() } else { flushAccessTimes() }
    }

    /// Appends the new uses.
    func flushAccessTimes() {
        guard accessTimes.hasUnwritten else { return }
        let (layout, uses, lines) = (layout, accessTimes.takeUnwritten(), accessTimes.file.lines)
        withAccessFile({ () throws(StoreError) in try AccessFile.append(uses, to: lines, layout) }) { [self] result in
            switch result {
            case .success(let state): accessTimes.file = state
            case .failure(let error):
                accessTimes.giveBack(uses)
                accessTimes.needsRewriting = true
                logger.error("store: last uses cannot be written: \(error)")
            }
        }
    }

    /// Rewrites the file from memory, without content that is no longer in the cache.
    func rewriteAccessTimes() {
        let (layout, uses, unwritten) = (layout, accessTimes.seconds, accessTimes.takeUnwritten())
        withAccessFile({ () throws(StoreError) -> (AccessFile.State, Set<Digest>) in
            let gone = AccessFile.withoutContent(uses, layout)
            var kept = uses
            for digest in gone { kept[digest] = nil }
            return (try AccessFile.rewrite(kept, layout), gone)
        }) { [self] result in
            switch result {
            case .success(let (state, gone)):
                accessTimes.file = state
                accessTimes.needsRewriting = false
                for digest in gone.prefix(AccessTimes.maximumForgotten) where isRecovered && blobs[digest] == nil {
                    forgetUse(of: digest)
                }
            case .failure(let error):
                accessTimes.giveBack(unwritten)
                logger.error("store: last uses cannot be written: \(error)")
            }
        }
    }

    /// Runs a job that reads or writes the file, after the earlier ones.
    private func withAccessFile<R: Sendable>(
        _ work: @escaping @Sendable () throws(StoreError) -> R, then: @escaping (Result<R, StoreError>) -> Void
    ) {
        workBegins()
        accessTimes.isBusy = true
        accessChain.attempt(work) { [self] result in
            accessTimes.isBusy = !accessChain.isIdle
            then(result)
            workEnds()
        }
    }
}
