// Values that are only read for a scrape: sizes, levels, and values from the operating system. The endpoint collects
// them from the server's parts.

package struct Readings: Sendable {
    package var store = StoreReadings()
    package var process = ProcessReadings()
    package var loop = LoopReadings()
    package var build: [(label: String, value: String)] = []

    // Requests and pulls.
    package var openConnections = 0
    package var pullsInFlight = Array(repeating: 0, count: PullKind.allCases.count)
    package var pullsQueued = 0
    package var upstreamRequestsInFlight = 0
    /// Whether new content could be stored at the last check of the disk.
    package var isReadyForPulls = false
    package var connect = ConnectReading()
    /// Remaining seconds of an upstream's 429 pause, by namespace number; hosts without an entry are not paused.
    package var rateLimitSeconds: [Int: Int] = [:]
    package var rateLimitedRequests = 0
    package var logLinesDropped: UInt64 = 0
    package var lastScrapeNanoseconds: UInt64 = 0

    package init() {}
}

/// Counts and current numbers of connecting to upstreams.
package struct ConnectReading: Sendable {
    /// Requests retried on a new connection, because a reused one did not answer.
    package var reconnects: UInt64 = 0
    package var lookupsRunning = 0
    package var lookupsWaiting = 0
    package var lookupsRefused: UInt64 = 0

    package init() {}

    package init(reconnects: UInt64, lookupsRunning: Int, lookupsWaiting: Int, lookupsRefused: UInt64) {
        self.reconnects = reconnects
        self.lookupsRunning = lookupsRunning
        self.lookupsWaiting = lookupsWaiting
        self.lookupsRefused = lookupsRefused
    }
}

/// How damaged content was found.
package enum DamageFinder: UInt8, CaseIterable, Sendable {
    /// Found by the scan of the store at start; by a reader; by a manifest that states another size; by `verify`; by
    /// the scrub.
    case start, read, size, verify, scrub

    var label: String { "\(self)" }
}

/// The progress of the background scrub.
package struct ScrubReadings: Sendable {
    /// Counts since the start of the process.
    package var files: UInt64 = 0
    package var bytes: UInt64 = 0
    /// Whether a pass is running, and its hashed bytes, including those of earlier processes.
    package var isRunning = false
    package var passBytes: Int64 = 0
    /// End of the last complete pass, in seconds since 1970; 0 when there was none.
    package var lastCompleteSeconds: Int64 = 0

    package init() {}
}

/// The ledger of `cooldown`; all is 0 while no policy has a cooldown.
package struct CooldownReadings: Sendable {
    /// Tags that have moved to an image which they do not serve yet.
    package var waitingTags = 0
    package var ledgerEntries = 0
    /// Whether no wait ends, since the system's clock is behind the newest entry.
    package var isClockBehind = false
}

/// The current values of the store.
package struct StoreReadings: Sendable {
    package var blobBytes: Int64 = 0
    package var manifestBytes: Int64 = 0
    package var blobCount = 0
    package var manifestCount = 0
    package var tagCount = 0
    package var isRecovered = false
    package var setAside: UInt64 = 0
    /// Damaged files found, by `DamageFinder`.
    package var damaged = Array(repeating: UInt64(0), count: DamageFinder.allCases.count)
    package var scrub = ScrubReadings()
    package var cooldown = CooldownReadings()
    /// Share of the cached bytes that the current pass has hashed.
    package var scrubProgress: Double {
        let all = blobBytes + manifestBytes
        return scrub.isRunning && all > 0 ? min(1, Double(scrub.passBytes) / Double(all)) : 0
    }
    package var writeFailuresNoSpace: UInt64 = 0
    package var writeFailuresOther: UInt64 = 0
    /// Names removed by prunes and by evictions, with the bytes removed.
    package var prunedImages: UInt64 = 0
    package var prunedBytes: UInt64 = 0
    package var evictedImages: UInt64 = 0
    package var evictedBytes: UInt64 = 0
    /// The bytes that the budget counts, and its limit; nil for none.
    package var usedBytes: Int64 = 0
    package var maxBytes: Int64?
    /// Space that the server keeps free on the file system; nil for none.
    package var minFreeBytes: Int64?
    package var manifestMemoryBytes = 0
    package var cachedManifests = 0
    package var openFiles = 0
    /// Bytes in memory that are not on the disk yet.
    package var backlogBytes = 0
    /// Evictions that found too little to remove, and the requests for space refused because of that.
    package var evictionsInVain: UInt64 = 0
    package var refusedAdmissions: UInt64 = 0
    package var disk = DiskReadings()

    package init() {}
}

/// The file system's values for the store.
package struct DiskReadings: Sendable {
    package var partialFiles = 0
    package var partialBytes: Int64 = 0
    package var quarantinedFiles = 0
    package var sizeBytes: Int64 = 0
    /// Space available to this process's user.
    package var freeBytes: Int64 = 0

    package init() {}
}

/// Values of this process from the kernel and the C library.
package struct ProcessReadings: Sendable {
    package var cpuNanoseconds: UInt64 = 0
    package var residentBytes: Int64 = 0
    package var virtualBytes: Int64 = 0
    /// Limit of virtual memory; nil for none.
    package var virtualLimitBytes: Int64?
    package var openDescriptors = 0
    package var maximumDescriptors = 0
    /// Seconds since 1970.
    package var startSeconds = 0.0
    package var threads = 0
    /// Counts of the network namespace.
    package var receivedBytes: UInt64 = 0
    package var transmittedBytes: UInt64 = 0
    package var heapUsedBytes: Int64 = 0
    package var heapFreeBytes: Int64 = 0
    package var heapMappedBytes: Int64 = 0

    package init() {}
}

/// Measurements of the event loop and its thread pool.
package struct LoopReadings: Sendable {
    package var iterations = HistogramTable(.iterations)
    package var idleNanoseconds: UInt64 = 0
    package var activeHandles = 0
    package var poolThreads = 0
    package var poolJobsInFlight = 0
    package var poolWaits = HistogramTable(.iterations)
    package var poolRuns = HistogramTable(.iterations)
    package var transfers = 0
    package var growingBlobs = 0

    package init() {}
}
