// The content-addressed store: verified blobs and manifests by digest, tags by name, and writes in progress. This file
// has its life (open, close) and what its parts share; StoreBlobs, StoreManifests, StoreTags and StoreIngests have the
// lookups.
//
// Everything here runs on the loop; what may block goes through `Offload`. Callbacks named `then` run on the loop,
// once, after the call has returned. The look-ups that answer from memory are functions of their own: `cached…`,
// `…AtOnce`.

package import Configuration
internal import Glibc
package import Logging
package import OCI

/// Budgets of a store.
package struct StoreLimits: Sendable {
    /// Manifests kept in memory with their response fields, in bytes: some ten thousand of the usual few kilobytes,
    /// more than a node's working set, and little beside what the images themselves take.
    package var manifestMemoryBytes = 64 * 1024 * 1024
    /// Descriptors of blob files kept open, so that a hit opens nothing. See `defaultOpenFiles`.
    package var openFiles = StoreLimits.defaultOpenFiles
    /// Bytes in memory that the disk does not have yet, of all kinds together: what twenty pulls in full flow go round
    /// with, and little enough for a node's mirror in 256 MB. When it is reached, upstreams wait for the disk.
    package var backlogBytes = 64 * 1024 * 1024
    /// Small blobs kept in memory, in bytes: the configs of a thousand images.
    package var smallBlobBytes = 4 * 1024 * 1024
    /// What has been served this recently is not removed, see `Store.leaseSeconds`.
    package var leaseSeconds = Store.leaseSeconds
    /// How large the cache may be.
    package var budget = Budget()
    /// Images that never leave for want of room. Asked off the loop.
    package var isPinned: @Sendable (CachedImage) throws -> Bool = { _ in false }

    package init() {}

    /// An eighth of the process's descriptors (the rest is for connections), and no more than 1024.
    package static var defaultOpenFiles: Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 128 }
        return Int(min(1024, max(16, limit.rlim_cur / 8)))
    }
}

/// An answer from memory.
package enum Lookup<Value> {
    case present(Value)
    case absent
    /// Recovery has not got there yet; the disk must be asked.
    case unknown
}

extension Lookup: Equatable where Value: Equatable {}

package final class Store {
    /// Blob fsyncs in flight. With the publisher's one they stay well below `Offload.threadCount`, so that reads do not
    /// queue behind a slow disk's flushes.
    static let maximumBlobSyncs = 4

    let loop: EventLoop
    let offload: Offload
    let logger: Logger
    let layout: Layout
    let directories = DirectoryBook()
    /// What upstreams have sent and the disk does not have yet.
    package let backlog: MemoryBudget
    let publisher: Publisher
    let syncs = Gate(limit: Store.maximumBlobSyncs)
    private let lock: StoreLock

    /// All blobs known.
    var blobs = ContentIndex<Void>()
    var openFiles: ClockCache<OpenFile>
    var smallBlobs: ClockCache<CachedBlob>
    /// Opens under way, and who waits for them.
    var opening: [Digest: [(OpenFile?) -> Void]] = [:]
    /// Blobs on their way to the quarantine, and who waits for that: a new file of the name must not be moved in its
    /// place.
    var pendingRemoval: [Digest: [() -> Void]] = [:]
    var sizeChecks = SizeChecks()
    /// Content set aside while recovery runs, which may still report the file it saw.
    var setAsideInRecovery: Set<Digest> = []

    /// Types of all manifests known.
    var manifests = ContentIndex<MediaType>()
    var manifestCache: ClockCache<CachedManifest>
    var loading: [Digest: [(CachedManifest?) -> Void]] = [:]
    /// Of these, what a forced prune has removed: what the disk says of it is out of date.
    var removedWhileLoading: Set<Digest> = []
    /// Manifests that the disk may not have yet, and their blobs.
    var manifestsInWriting: [Digest: [Digest]] = [:]

    var tags = TagIndex()
    /// What has left, counted: while a number is the same, whatever was found there still is.
    struct CacheGeneration {
        /// From the tags' index and from the manifests in memory.
        var manifests: UInt64
        /// From the small blobs in memory.
        var blobs: UInt64
    }

    var generation: CacheGeneration {
        CacheGeneration(manifests: tags.removalCount &+ manifestCache.removalCount, blobs: smallBlobs.removalCount)
    }
    /// Tags that the disk does not have as memory has them: being written, or refused by the disk.
    var unsavedTags: Set<TagName> = []
    var tagReads: [TagName: [(TagRecord?) -> Void]] = [:]

    /// Damaged files found since the start, by `DamageFinder`.
    var damageCounts = StoreReadings().damaged
    /// The progress of the scrub.
    var scrub = ScrubReadings()
    /// Files set aside, and writes that the disk refused, since the start.
    var setAsideCount: UInt64 = 0
    var writeFailures: (noSpace: UInt64, other: UInt64) = (0, 0)
    /// Told of every upstream host that the disk has a tag of.
    package var onHostKnown: ((RegistryHost) -> Void)?

    let limits: StoreLimits
    /// Room promised to pulls under way.
    var reservedBytes: Int64 = 0
    /// Partial files and their sizes.
    var partials = PartialFiles()
    /// Those on their way out, and who waits to begin them anew.
    var partialsLeaving: [String: [() -> Void]] = [:]
    /// Those gone while recovery runs, which may still report what it saw.
    var partialsGoneInRecovery: Set<String> = []
    /// Those who wait for images to leave.
    var waitingForRoom: [(_ foundEnough: Bool) -> Void] = []
    var isEvicting = false
    var evictionBackOff = EvictionBackOff()
    /// Requests for room that were refused because too little may leave, since the start.
    var refusedAdmissions: UInt64 = 0
    var removals = Removals()
    var accessTimes = AccessTimes()
    var accessTimer: Timer?
    /// The jobs that read and write the file of last uses.
    let accessChain: SerialOffload
    /// The prune under way, and those that wait for it.
    var pruning: Pruning?
    var waitingPrunes: [() -> Void] = []

    let buffers: BufferPool
    /// Keys being written, and who wants to write next.
    var writing: [PullKey: [() -> Void]] = [:]

    /// The largest write that was refused for want of room, as long as there may still be too little; 0 when none was.
    var roomWantedBytes: Int64 = 0

    /// Whether the indexes are complete: what they do not have does not exist.
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
        backlog = MemoryBudget(on: loop, limitBytes: limits.backlogBytes)
        buffers = BufferPool(memory: backlog)
        publisher = Publisher(
            layout: layout, directories: directories, memory: backlog, offload: offload, logger: logger)
        openFiles = ClockCache(budget: limits.openFiles)
        smallBlobs = ClockCache(budget: limits.smallBlobBytes)
        manifestCache = ClockCache(budget: limits.manifestMemoryBytes)
    }

    /// Where the server of an image path has its ADMIN socket: a name beside the lock, there while it runs.
    package static func adminSocket(imagePath: String) -> String { Layout(imagePath: imagePath).admin }

    /// The directory that a store's files are in.
    package static func root(imagePath: String) -> String { Layout(imagePath: imagePath).root }

    /// Opens (or makes) the store under an image path and locks it. Blocks: for the start only.
    /// - Throws: `.locked` with the holder's note, or the refusal of the disk, both naming the path.
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

    /// Makes the top directories durable and removes what a former process was writing. The latter happens here, not in
    /// the background: afterwards every temporary file is this process's own.
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
        try Disk.syncDirectory(layout.root)
        // The root's own name, where we may open the directory above: it can be somebody else's.
        try? Disk.syncDirectory(layout.root + "/..")
        for name in try Disk.names(in: layout.temporary) { try? Disk.unlink("\(layout.temporary)/\(name)") }
    }

    /// Waits for what is being written to the disk, then gives the lock back. Ingests should have been committed,
    /// suspended or discarded before; one that has not been keeps its partial file but is not waited for.
    package func close(then: @escaping () -> Void) {
        finishAccessTimes()
        isClosing = true
        // They get an error that says so.
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
