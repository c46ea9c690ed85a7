// When manifests were last served: in memory, and now and then written to one file (AccessFile), so that a hit costs no
// write. A crash loses the last minute of it, which only makes something look a minute older.

internal import Logging
internal import OCI

/// The last use of each manifest, in seconds since 1970.
struct AccessTimes {
    /// How exactly it is known: a manifest used again within this is not noted again.
    static let granularityMilliseconds: UInt64 = 30_000
    static let granularitySeconds = Int64(granularityMilliseconds / 1000)
    /// How often it is written.
    static let flushMilliseconds: UInt64 = 60_000
    /// Digests without a manifest that are forgotten in one go, so that the loop is not kept.
    static let maximumForgotten = 4096

    private(set) var seconds = DigestMap<Int64>()
    /// What the file does not have yet: an entry a manifest, however long the disk takes.
    private var unwritten = DigestMap<Int64>()

    /// The file as it was last seen. Its size counts as the cache's.
    var file = AccessFile.State()
    /// Whether memory has what the file had: before that it must not be rewritten.
    var isLoaded = false
    /// A job has the file.
    var isBusy = false
    /// Appending has failed: the end of the file may be half a line, or the file another user's.
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

    /// Takes what the disk had; what memory has is newer.
    mutating func merge(_ former: DigestMap<Int64>) {
        let newer = seconds
        seconds = former
        // Few: the file is read right after the start.
        newer.forEach { seconds[$0] = $1 }
    }

    /// What has to be appended to the file.
    mutating func takeUnwritten() -> DigestMap<Int64> {
        defer { unwritten = [:] }
        return unwritten
    }

    /// They could not be written. Those that have been used since have newer times already.
    mutating func giveBack(_ uses: DigestMap<Int64>) {
        uses.forEach { digest, time in
            if unwritten[digest] == nil, seconds[digest] != nil { unwritten[digest] = time }
        }
    }
}

extension Store {
    /// What has been served this recently is not removed: a client that has the manifest is about to ask for the
    /// layers, and large ones on slow lines take minutes.
    package static let leaseSeconds: Int64 = 600

    /// A manifest is being served. No allocation but twice a minute, and while images are being removed.
    package func touch(_ manifest: CachedManifest) {
        let now = loop.nowMilliseconds
        guard now >= manifest.nextTouchMilliseconds || pruning != nil else { return }
        pruning?.touched.insert(manifest.digest)
        // Not every time while images are being removed: that may take long, and would not be more precise.
        guard now >= manifest.nextTouchMilliseconds else { return }
        manifest.nextTouchMilliseconds = now + AccessTimes.granularityMilliseconds
        accessTimes.touch(manifest.digest, at: EventLoop.unixSeconds)
    }

    /// Reads the times of former runs, then keeps the file up to date.
    func startAccessTimes() {
        loadAccessTimes()
        let timer = Timer(on: loop) { [unowned self] in saveAccessTimes() }
        timer.start(afterMilliseconds: AccessTimes.flushMilliseconds, everyMilliseconds: AccessTimes.flushMilliseconds)
        timer.unreference()
        accessTimer = timer
    }

    /// A step of what the file needs. One at a time: a disk that hangs must not gather them.
    func saveAccessTimes() {
        guard !accessTimes.isBusy else { return }
        if !accessTimes.isLoaded {
            loadAccessTimes()
        } else if accessTimes.needsRewriting
            || accessTimes.file.isWorthRewriting(uses: accessTimes.seconds.count) && isRecovered
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

    /// The last step, before the store closes.
    func finishAccessTimes() {
        accessTimer?.close()
        accessTimer = nil
        if accessTimes.needsRewriting, accessTimes.isLoaded { rewriteAccessTimes() } else { flushAccessTimes() }
    }

    /// Appends what is new.
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

    /// Rewrites the file from memory, without what is not in the cache any more.
    func rewriteAccessTimes() {
        let (layout, uses, unwritten) = (layout, accessTimes.seconds, accessTimes.takeUnwritten())
        withAccessFile({ () throws(StoreError) -> (AccessFile.State, Set<Digest>) in
            let gone = AccessFile.withoutManifest(uses, layout)
            var kept = uses
            for digest in gone { kept[digest] = nil }
            return (try AccessFile.rewrite(kept, layout), gone)
        }) { [self] result in
            switch result {
            case .success(let (state, gone)):
                accessTimes.file = state
                accessTimes.needsRewriting = false
                for digest in gone.prefix(AccessTimes.maximumForgotten)
                where isRecovered && manifests[digest] == nil && manifestsInWriting[digest] == nil {
                    accessTimes.forget(digest)
                }
            case .failure(let error):
                accessTimes.giveBack(unwritten)
                logger.error("store: last uses cannot be written: \(error)")
            }
        }
    }

    /// All that reads or writes the file, one after the other.
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
