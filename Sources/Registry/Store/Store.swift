// The content-addressed store: verified blobs and manifests by digest, tags by name, and writes in progress. This file
// has its opening and closing, and the state that its parts share; StoreBlobs, StoreManifests, StoreTags and
// StoreIngests have the lookups.
//
// Everything here runs on the loop; what may block goes through `Offload`. Callbacks named `then` run on the loop,
// once, after the call has returned. The look-ups that answer from memory are functions of their own: `cached…`,
// `…AtOnce`.

internal import Glibc
package import Logging
package import OCI

/// The result of a lookup in memory.
package enum Lookup<Value> {
    case present(Value)
    case absent
    /// Recovery has not reached it yet, so the disk must be read.
    case unknown
}

extension Lookup: Equatable where Value: Equatable {}

/// A content-addressed store in one directory. Must be used on the loop only.
package final class Store {
    /// Concurrent blob fsyncs. Together with the publisher's one they stay well below `Offload.threadCount`, so that
    /// reads do not wait for the flushes of a slow disk.
    static let maximumBlobSyncs = 4

    let loop: EventLoop
    let offload: Offload
    let logger: Logger
    let layout: Layout
    let directories = DirectoryBook()
    /// Bytes from upstreams that are not on disk yet.
    package let backlog: MemoryBudget
    let publisher: Publisher
    let syncs = Gate(limit: Store.maximumBlobSyncs)
    private let lock: StoreLock

    /// All blobs known.
    var blobs = BlobIndex()
    var openFiles: ClockCache<OpenFile>
    var smallBlobs: ClockCache<CachedBlob>
    /// Running opens, with the callers that wait for them.
    var opening: [Digest: [(OpenFile?) -> Void]] = [:]
    /// Blobs whose removal is in progress, with the actions that wait for it: a new file of the same name must not be
    /// moved instead of the old one.
    var pendingRemoval: [Digest: [() -> Void]] = [:]
    var sizeChecks = SizeChecks()
    /// Content that was set aside during recovery, which may still report the old file.
    var setAsideInRecovery: Set<Digest> = []

    /// All manifests known, with their types.
    var manifests = ContentIndex<MediaType>()
    var manifestCache: ClockCache<CachedManifest>
    var loading: [Digest: [(CachedManifest?) -> Void]] = [:]
    /// Manifests in `loading` that a forced prune has removed, so that the loaded file is obsolete.
    var removedWhileLoading: Set<Digest> = []
    /// Manifests that may not be on disk yet, with their blobs.
    var manifestsInWriting: [Digest: [Digest]] = [:]

    var tags = TagIndex()
    /// Counts of removals: while a number is unchanged, every entry found before is still there.
    struct CacheGeneration {
        /// Removals from the tag index, from the manifests in memory and from the index of proofs.
        var manifests: UInt64
        /// Removals from the small blobs in memory and from the index of proofs.
        var blobs: UInt64
        /// Removals from the open files and from the index of proofs.
        var files: UInt64
    }

    var generation: CacheGeneration {
        CacheGeneration(
            manifests: tags.removalCount &+ manifestCache.removalCount &+ proofs.removalCount,
            blobs: smallBlobs.removalCount &+ proofs.removalCount,
            files: openFiles.removalCount &+ proofs.removalCount)
    }
    /// Tags whose file differs from memory: being written, or refused by the disk.
    var unsavedTags: Set<TagName> = []
    var tagReads: [TagName: [(TagRecord?) -> Void]] = [:]

    /// Damaged files found since the start, by `DamageFinder`.
    var damageCounts = StoreReadings().damaged
    /// The progress of the scrub.
    var scrub = ScrubReadings()
    /// Files set aside, and writes that the disk refused, since the start.
    var setAsideCount: UInt64 = 0
    var writeFailures: (noSpace: UInt64, other: UInt64) = (0, 0)
    /// Called for every upstream host that has a tag on disk.
    package var onHostKnown: ((RegistryHost) -> Void)?
    /// Called when a tag is set to a digest.
    package var onTagSet: ((RegistryHost, RepositoryName, String) -> Void)?
    /// Called when a repository is known to have content.
    package var onContentAdded: ((RegistryHost, RepositoryName, Digest) -> Void)?

    package private(set) var limits: StoreLimits
    /// Room reserved for running pulls.
    var reservedBytes: Int64 = 0
    /// Partial files and their sizes.
    var partials = PartialFiles()
    /// Partial files that are being removed, with the ingests that wait to open them anew.
    var partialsLeaving: [String: [() -> Void]] = [:]
    /// Partial files removed during recovery, which may still report them.
    var partialsGoneInRecovery: Set<String> = []
    /// Callers that wait for evictions.
    var waitingForRoom: [(_ foundEnough: Bool) -> Void] = []
    var isEvicting = false
    var evictionBackOff = EvictionBackOff()
    /// Refused requests for room since the start, because too little could be evicted.
    var refusedAdmissions: UInt64 = 0
    var removals = Removals()
    /// Whether an eviction found too little a short time ago, so that another would find nothing.
    package var isEvictionBackedOff: Bool { evictionBackOff.isActive(now: loop.nowMilliseconds) }
    /// Images removed since the start.
    package var removedImages: UInt64 { removals.prunedImages &+ removals.evictedImages }
    var accessTimes = AccessTimes()
    var accessTimer: Timer?
    /// The jobs that read and write `ACCESS`.
    let accessChain: SerialOffload
    var tagChecks = TagCheckTimes()
    /// The jobs that read and write `CHECKS`.
    let checkChain: SerialOffload
    /// Milliseconds that `tagClock` is ahead of the loop's clock: tests let time pass with it.
    package var tagClockLead: UInt64 = 0
    var ledgerState = LedgerState()
    /// The jobs that read and write `LEDGER`.
    let ledgerChain: SerialOffload
    /// What tests add to both clocks of `cooldown`, and to the system's alone.
    package var cooldownLead = CooldownClock.Reading(wallSeconds: 0, monotonicSeconds: 0)
    var proofs = Proofs()
    var lists = Lists()
    /// Counts manifests and names that were stored or removed, for readers of the whole cache.
    package internal(set) var contentCount: UInt64 = 0
    /// The jobs that read and write `PROOFS`.
    let proofChain: SerialOffload
    /// The running prune, and those that wait for it.
    var pruning: Pruning?
    var waitingPrunes: [() -> Void] = []

    let buffers: BufferPool
    /// Keys being written, with the ingests that wait for them.
    var writing: [PullKey: [() -> Void]] = [:]

    /// The largest write refused for lack of room, while there may still be too little; 0 when none was refused.
    var roomWantedBytes: Int64 = 0

    /// Whether the indexes are complete, so that content missing there does not exist.
    package internal(set) var isRecovered = false
    private(set) var isClosing = false
    private var workCount = 0
    private var whenQuiet: (() -> Void)?

    private init(
        layout: Layout, lock: StoreLock, loop: EventLoop, offload: Offload, logger: Logger, limits: StoreLimits
    ) {
        self.layout = layout
        self.lock = lock
        self.loop = loop
        self.offload = offload
        self.logger = logger
        self.limits = limits
        accessChain = SerialOffload(offload)
        proofChain = SerialOffload(offload)
        checkChain = SerialOffload(offload)
        ledgerChain = SerialOffload(offload)
        backlog = MemoryBudget(on: loop, limitBytes: limits.backlogBytes)
        buffers = BufferPool(memory: backlog)
        publisher = Publisher(
            layout: layout, directories: directories, memory: backlog, offload: offload, logger: logger)
        openFiles = ClockCache(budget: limits.openFiles)
        smallBlobs = ClockCache(budget: limits.smallBlobBytes)
        manifestCache = ClockCache(budget: limits.manifestMemoryBytes)
    }

    /// The path of the ADMIN socket for an image path: beside the lock, and present while the server runs.
    package static func adminSocket(imagePath: String) -> String { Layout(imagePath: imagePath).admin }

    /// The directory of a store's files.
    package static func root(imagePath: String) -> String { Layout(imagePath: imagePath).root }

    /// Opens or makes the store under an image path and locks it. Blocks, so it must only be called at start.
    /// - Throws: `.locked` with the holder's note, or the disk's error, both naming the path.
    package static func open(
        imagePath: String, loop: EventLoop, offload: Offload, logger: Logger, limits: StoreLimits = StoreLimits()
    ) throws(StoreError) -> Store {
        var layout = Layout(imagePath: imagePath)
        layout.group = GroupAccess(of: imagePath)
        try Disk.makeDirectories(layout.root, layout.group)
        let lock: StoreLock
        do throws(StoreError) { lock = try StoreLock(layout) } catch {
            guard error.isPermission, let owner = try? Disk.status(at: layout.root).owner else { throw error }
            throw .unusable(
                path: layout.root,
                reason: "is uid \(owner)'s, and uid \(geteuid()) may not write there (\(error)); run as that user, or "
                    + "give the cache to a group of both: chgrp -R GROUP, chmod -R g+rwX, and g+s on directories")
        }
        do throws(StoreError) {
            try prepare(layout)
        } catch {
            lock.release()
            throw error
        }
        return Store(layout: layout, lock: lock, loop: loop, offload: offload, logger: logger, limits: limits)
    }

    /// Makes the top directories durable, and removes the temporary files of an earlier process. That is not done in
    /// the background, so that afterwards every temporary file is this process's own.
    private static func prepare(_ layout: Layout) throws(StoreError) {
        layout.group.apply(to: try Disk.status(at: layout.root), at: layout.root)
        for path in [layout.blobs, layout.manifests, layout.tags, layout.partial, layout.temporary, layout.quarantine] {
            try Disk.makeDirectories(path, layout.group)
            let status = try Disk.status(at: path)
            guard status.isDirectory else {
                throw .unusable(path: path, reason: "is in the way: not a directory")
            }
            layout.group.apply(to: status, at: path)
        }
        // These are appended to, so that they stay as an earlier release, or another group's access, has made them.
        for path in [layout.access, layout.proofs, layout.checks, layout.ledger, layout.scrub] {
            if let status = try? Disk.status(at: path) { layout.group.apply(to: status, at: path) }
        }
        try Disk.syncDirectory(layout.root)
        // Makes the root's own name durable, if this process may open the parent, which can belong to another user.
        try? Disk.syncDirectory(layout.root + "/..")
        for name in try Disk.names(in: layout.temporary) { try? Disk.unlink("\(layout.temporary)/\(name)") }
    }

    /// Takes other limits of the cache's size, and other leases and pinned images. A cache above its limit is brought
    /// below it at once. The limits of memory and descriptors stay.
    package func reload(_ fresh: StoreLimits) {
        limits.budget = fresh.budget
        limits.leaseSeconds = fresh.leaseSeconds
        limits.isPinned = fresh.isPinned
        // More may be removed now than the last eviction found.
        evictionBackOff.end()
        keepBelowBudget()
    }

    /// Waits for running writes, then releases the lock. The caller should have committed, suspended or discarded all
    /// ingests; others keep their partial files but are not waited for.
    package func close(then: @escaping () -> Void) {
        finishAccessTimes()
        finishChecks()
        finishProofs()
        writeLedger()
        isClosing = true
        // Each of them now fails with `.closed`.
        for prune in waitingPrunes { prune() }
        waitingPrunes = []
        whenQuiet = { [self] in
            openFiles.removeAll()
            smallBlobs.removeAll()
            lock.release()
            then()
        }
        checkQuiet()
    }

    /// Calls `then` when every manifest and name given so far is on the disk, or has been refused.
    package func whenWritten(then: @escaping () -> Void) {
        publisher.whenWritten { [loop] in loop.deferred.enqueue(then) }
    }

    /// Runs a blocking job that `close` waits for.
    func perform<R: Sendable>(
        _ work: @escaping @Sendable () throws(StoreError) -> R, then: @escaping (Result<R, StoreError>) -> Void
    ) {
        workBegins()
        offload.attempt(work) { result in
            then(result)
            self.workEnds()
        }
    }

    /// Whether `close` would wait for work that begins now.
    var mayBeginWork: Bool { !isClosing || workCount > 0 }

    func workBegins() { workCount += 1 }

    func workEnds() {
        workCount -= 1
        checkQuiet()
    }

    private func checkQuiet() {
        guard isClosing, workCount == 0, let action = whenQuiet else { return }
        whenQuiet = nil
        action()
    }
}
