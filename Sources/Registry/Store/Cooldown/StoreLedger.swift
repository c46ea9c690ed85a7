// The ledger of `cooldown` with its clock and its file. It is in memory while a policy has a cooldown; what is recorded
// without that is only appended to the file.
//
// A change that is lost by a crash makes a wait longer, never shorter: a manifest is then seen for the first time
// later. The exception is a move, within the milliseconds until it is written.

internal import DequeModule
internal import Glibc
internal import Logging
package import OCI

/// The state of the ledger.
struct LedgerState {
    /// Changes that wait for the disk. Beyond it, while the disk hangs, the oldest first times and tags are given up:
    /// their waits begin anew after a restart.
    static let maximumUnwritten = 65_536
    /// Seconds between two records of the time that the clock has reached.
    static let reachedPeriodSeconds: Int64 = 60
    /// Seconds until the time is recorded although nothing else is.
    static let reachedRecordSeconds: Int64 = 3600

    /// The ledger; nil while it is not in memory.
    var ledger: CooldownLedger?
    var clock: CooldownClock?
    var isNeeded = false
    /// The longest cooldown of all policies: what is older than that waits for none.
    var longestCooldownSeconds: Int64 = 0
    var isLoading = false
    var waiting: [() -> Void] = []
    var unwritten: Deque<LedgerChange> = []
    /// The size of the file.
    var file = LineFile.State()
    /// Callers that wait until the changes so far are on the disk, or it has refused them.
    var waitingForWrites: [(StoreError?) -> Void] = []
    var isWriting = false
    var writtenReachedSeconds: Int64 = 0
}

extension Store {
    /// Takes the longest cooldown of all policies, in seconds, into use.
    package func setLongestCooldown(_ seconds: Int64) {
        ledgerState.longestCooldownSeconds = seconds
        keepsLedger = seconds > 0
    }

    /// Whether the ledger is kept in memory: while some policy has a cooldown.
    package var keepsLedger: Bool {
        get { ledgerState.isNeeded }
        set {
            guard newValue != ledgerState.isNeeded else { return }
            ledgerState.isNeeded = newValue
            if newValue {
                // A read that is under way is taken.
                if !ledgerState.isLoading { loadLedger() }
            } else if let ledger = ledgerState.ledger {
                (ledgerState.ledger, ledgerState.clock) = (nil, nil)
                // Freed in the pool: a large one takes long.
                offload.run {
                    _ = ledger.count
                } then: { _ in
                }
            }
        }
    }

    /// The ledger; nil while it is not in memory: `whenLedgerKnown` waits for it.
    package var ledger: CooldownLedger? { ledgerState.ledger }

    /// Calls `then` later, when the ledger is in memory, or is not needed any more.
    package func whenLedgerKnown(then: @escaping () -> Void) {
        guard ledgerState.isLoading else { return loop.deferred.enqueue(then) }
        ledgerState.waiting.append(then)
    }

    /// The present by which waits end, in seconds since 1970; 0 while the ledger is not in memory.
    package var cooldownNow: Int64 {
        let reading = followClock()
        guard let newest = ledgerState.ledger?.newestSeconds else { return 0 }
        return ledgerState.clock?.present(reading, newestSeconds: newest) ?? 0
    }

    /// The ledger and the present; nil while the ledger is not in memory. Reading the clock may change the ledger.
    package var ledgerAndNow: (ledger: CooldownLedger, now: Int64)? {
        let now = cooldownNow
        return ledgerState.ledger.map { ($0, now) }
    }

    /// The time for a new entry; nil while the clock is not right.
    package var cooldownStamp: Int64? { ledgerState.clock?.stamp(followClock()) }

    /// What the metrics show of the ledger.
    var cooldownReadings: CooldownReadings {
        guard let ledger = ledgerState.ledger, let clock = ledgerState.clock else { return CooldownReadings() }
        return CooldownReadings(
            waitingTags: ledger.pendingTagCount, ledgerEntries: ledger.count,
            isClockBehind: clock.isBehind(cooldownReading, newestSeconds: ledger.newestSeconds))
    }

    /// Reads the clocks. If the system's has been set forward, what waits is moved with it.
    private func followClock() -> CooldownClock.Reading {
        let reading = cooldownReading
        guard let jump = ledgerState.clock?.follow(reading), jump > 0, let moves = ledgerState.ledger?.moves,
            let reached = ledgerState.clock?.reachedSeconds
        else { return reading }
        let since = max(0, reached.subtractingSaturated(ledgerState.longestCooldownSeconds))
        let seconds = min(jump, OutsideNumber.seconds.upperBound)
        record(.moved(seconds: seconds, since: since, number: moves.addingSaturated(1)))
        logger.warning(
            "the system's clock was set forward: what waits (cooldown) is moved with it",
            metadata: ["seconds": "\(jump)"])
        return reading
    }

    private var cooldownReading: CooldownClock.Reading {
        var now = timespec()
        clock_gettime(CLOCK_BOOTTIME, &now)
        return CooldownClock.Reading(
            wallSeconds: EventLoop.unixSeconds.addingSaturated(cooldownLead.wallSeconds),
            monotonicSeconds: Int64(now.tv_sec).addingSaturated(cooldownLead.monotonicSeconds))
    }

    /// Applies a change, and writes it.
    /// - Parameter then: called later, when it is on the disk or the disk has refused it.
    package func record(_ change: LedgerChange, then: ((StoreError?) -> Void)? = nil) {
        guard mayBeginWork else {
            if let then { loop.deferred.complete(then, .closed) }
            return
        }
        ledgerState.ledger?.apply(change)
        if ledgerState.unwritten.count >= LedgerState.maximumUnwritten, let oldest = ledgerState.unwritten.popFirst(),
            oldest.isIrreplaceable
        {
            ledgerState.unwritten.append(oldest)
        }
        ledgerState.unwritten.append(change)
        if let then { ledgerState.waitingForWrites.append(then) }
        // Changes made in the same step are written together.
        loop.deferred.enqueue { [self] in writeLedger() }
    }

    /// Writes the changes so far: one job at a time, since jobs must not pile up behind a hanging disk.
    func writeLedger() {
        guard !ledgerState.isWriting, !ledgerState.isLoading, !ledgerState.unwritten.isEmpty, mayBeginWork else {
            return
        }
        let layout = layout
        let reached = ledgerState.clock?.reachedSeconds ?? 0
        let isLater =
            reached.subtractingSaturated(ledgerState.writtenReachedSeconds) >= LedgerState.reachedPeriodSeconds
        let recorded = Array(ledgerState.unwritten)
        let isNew = isLater && recorded.last != .reached(seconds: reached)
        let changes = recorded + (isNew ? [.reached(seconds: reached)] : [])
        ledgerState.unwritten = []
        let waiting = ledgerState.waitingForWrites
        ledgerState.waitingForWrites = []
        ledgerState.isWriting = true
        workBegins()
        ledgerChain.attempt({ () throws(StoreError) in try LedgerFile.append(changes, layout) }) { [self] result in
            ledgerState.isWriting = false
            switch result {
            case .success(let bytes):
                if case .reached(let seconds) = changes.last { ledgerState.writtenReachedSeconds = seconds }
                ledgerState.file = LineFile.State(bytes: bytes, lines: ledgerState.file.lines + changes.count)
                rewriteLedger()
                writeLedger()
            case .failure(let error):
                noteFailure(error)
                logger.error("store: LEDGER cannot be written yet: \(error)")
                // With the next change, or in the next minute.
                for change in changes.reversed() { ledgerState.unwritten.prepend(change) }
            }
            loop.deferred.forEach(waiting) { $0(result.failure) }
            workEnds()
        }
    }

    /// Rewrites the file when most of its lines are obsolete.
    private func rewriteLedger() {
        guard let ledger = ledgerState.ledger, ledgerState.file.isWorthRewriting(entries: ledger.count) else { return }
        let layout = layout
        // Changes that are not written yet are in it, and are appended once more.
        ledgerState.isWriting = true
        workBegins()
        ledgerChain.attempt({ () throws(StoreError) in try LedgerFile.rewrite(ledger, layout) }) { [self] result in
            ledgerState.isWriting = false
            switch result {
            case .success(let state): ledgerState.file = state
            case .failure(let error):
                logger.error("store: LEDGER cannot be rewritten: \(error)")
                // Not tried again with every change.
                ledgerState.file = LineFile.State()
            }
            writeLedger()
            workEnds()
        }
    }

    /// Writes what the disk has refused, and from time to time how far the clock has got: after a restart with a clock
    /// that has been lost, what is served now is served still.
    func keepLedger() {
        let reached = cooldownNow
        if reached.subtractingSaturated(ledgerState.writtenReachedSeconds) >= LedgerState.reachedRecordSeconds {
            record(.reached(seconds: reached))
        }
        writeLedger()
    }

    private func loadLedger() {
        ledgerState.isLoading = true
        let layout = layout
        workBegins()
        ledgerChain.attempt({ () throws(StoreError) in try LedgerFile.load(layout) }) { [self] result in
            ledgerState.isLoading = false
            if ledgerState.isNeeded { take(result) }
            let waiting = ledgerState.waiting
            ledgerState.waiting = []
            loop.deferred.forEach(waiting) { $0() }
            writeLedger()
            workEnds()
        }
    }

    private func take(_ result: Result<LedgerFile.Content, StoreError>) {
        var ledger = CooldownLedger()
        switch result {
        case .success(let content):
            ledger = content.ledger
            ledgerState.file = content.state
            if let setAside = content.setAside {
                countDamage(.read)
                reportQuarantine(layout.ledger, "damaged lines", setAside)
            }
            if content.skippedBytes > 0 {
                logger.warning(
                    "store: LEDGER is too large: the oldest entries are not known",
                    metadata: ["skipped_bytes": "\(content.skippedBytes)"])
            }
        case .failure(let error):
            logger.error(
                """
                store: LEDGER cannot be read: approvals are lost, and waits of images that are not cached begin anew: \
                \(error)
                """
            )
        }
        // These are not in what was read.
        for change in ledgerState.unwritten { ledger.apply(change) }
        ledgerState.ledger = ledger
        ledgerState.writtenReachedSeconds = ledger.reachedSeconds
        let reading = cooldownReading
        let clock = CooldownClock(reading, reachedSeconds: ledger.reachedSeconds)
        ledgerState.clock = clock
        if clock.isBehind(reading, newestSeconds: ledger.newestSeconds) {
            logger.error(
                """
                the system's clock is lost or behind the newest entry of LEDGER: no wait of cooldown can end until it \
                is set right
                """,
                metadata: ["newest": "\(ledger.newestSeconds)", "now": "\(reading.wallSeconds)"])
        }
    }

    /// The time of a cached manifest's file, in seconds since 1970; nil when it has none.
    package func manifestFileSeconds(_ digest: Digest, then: @escaping (Int64?) -> Void) {
        guard let type = manifests[digest]?.detail else { return loop.deferred.complete(then, nil) }
        let path = layout.manifest(digest, type)
        perform({ () throws(StoreError) in try Disk.status(at: path).modifiedSeconds }) { then(try? $0.get()) }
    }
}
