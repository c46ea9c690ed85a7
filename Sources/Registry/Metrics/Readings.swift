// What is looked at when somebody asks for the metrics: sizes, levels, and what the operating system knows. Taken by
// the endpoint from the parts that know.

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
    /// Whether something new could be stored, when the disk was last looked at.
    package var isReadyForPulls = false
    package var connect = ConnectReading()
    /// Seconds that an upstream's 429 has left, by the namespace's number; those not there are not limited.
    package var rateLimitSeconds: [Int: Int] = [:]
    package var rateLimitedRequests = 0
    package var logLinesDropped: UInt64 = 0
    package var lastScrapeNanoseconds: UInt64 = 0

    package init() {}
}

/// What is counted and under way of connecting to upstreams.
package struct ConnectReading: Sendable {
    /// Requests sent again on a new connection, because a reused one did not answer.
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
    /// By the walk over the store at its start; by a reader; because a manifest states another size; by `verify`; by
    /// the scrub.
    case start, read, size, verify, scrub

    var label: String { "\(self)" }
}

/// The progress of the background scrub.
package struct ScrubReadings: Sendable {
    /// Since the start of the process.
    package var files: UInt64 = 0
    package var bytes: UInt64 = 0
    /// Whether a pass is under way, and how many bytes of it have been hashed, earlier processes' included.
    package var isRunning = false
    package var passBytes: Int64 = 0
    /// End of the last whole pass, in seconds since 1970; 0 when there was none.
    package var lastCompleteSeconds: Int64 = 0

    package init() {}
}

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
    /// Share of the cached bytes that the pass under way has hashed.
    package var scrubProgress: Double {
        let all = blobBytes + manifestBytes
        return scrub.isRunning && all > 0 ? min(1, Double(scrub.passBytes) / Double(all)) : 0
    }
    package var writeFailuresNoSpace: UInt64 = 0
    package var writeFailuresOther: UInt64 = 0
    /// Names removed by prunes and for want of room, and the bytes that went with them.
    package var prunedImages: UInt64 = 0
    package var prunedBytes: UInt64 = 0
    package var evictedImages: UInt64 = 0
    package var evictedBytes: UInt64 = 0
    /// What the budget counts, and its limit; nil for none.
    package var usedBytes: Int64 = 0
    package var maxBytes: Int64?
    /// What the server keeps free on the file system; nil for none.
    package var minFreeBytes: Int64?
    package var manifestMemoryBytes = 0
    package var cachedManifests = 0
    package var openFiles = 0
    /// Bytes in memory that the disk does not have yet.
    package var backlogBytes = 0
    /// Evictions that found too little to remove, and requests for room that were refused because of that.
    package var evictionsInVain: UInt64 = 0
    package var refusedAdmissions: UInt64 = 0
    package var disk = DiskReadings()

    package init() {}
}

/// What the file system says of the store.
package struct DiskReadings: Sendable {
    package var partialFiles = 0
    package var partialBytes: Int64 = 0
    package var quarantinedFiles = 0
    package var sizeBytes: Int64 = 0
    /// To be had by this process's user.
    package var freeBytes: Int64 = 0

    package init() {}
}

/// What the kernel and the C library say of this process.
package struct ProcessReadings: Sendable {
    package var cpuNanoseconds: UInt64 = 0
    package var residentBytes: Int64 = 0
    package var virtualBytes: Int64 = 0
    /// The limit; nil for none.
    package var virtualLimitBytes: Int64?
    package var openDescriptors = 0
    package var maximumDescriptors = 0
    /// Seconds since 1970.
    package var startSeconds = 0.0
    package var threads = 0
    /// Of the network namespace.
    package var receivedBytes: UInt64 = 0
    package var transmittedBytes: UInt64 = 0
    package var heapUsedBytes: Int64 = 0
    package var heapFreeBytes: Int64 = 0
    package var heapMappedBytes: Int64 = 0

    package init() {}
}

/// What the event loop and its thread pool measured of themselves.
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
