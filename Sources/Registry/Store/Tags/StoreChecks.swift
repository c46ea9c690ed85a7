// When each tag was last confirmed by its upstream: in memory with the tag, and written to one file (CheckFile) every
// minute, so that a check costs no write. A crash loses the last minute: such tags are checked again earlier.
//
// Ages are measured by the loop's clock, which no change of the system's clock moves. Only the file has the time of
// day.

internal import Logging
internal import OCI

/// The state of the file of last checks.
struct TagCheckTimes {
    /// The content of the file, from its reading to the end of the recovery.
    var table: CheckTable?
    var isLoaded = false
    /// Actions that wait until the file has been read.
    var waiting: [() -> Void] = []
    /// Checks that are not in the file yet: at most one entry per tag, however slow the disk is.
    var unwritten: [TagName: Int64] = [:]
    var file = LineFile.State()
    /// Whether the file may end with half a line; that is not known before it has been read.
    var isTorn = true
    /// Whether a job uses the file.
    var isBusy = false
}

extension Store {
    /// The present on the clock of `TagRecord.checkedMilliseconds`.
    package var tagClock: Int64 { tagClock(at: loop.nowMilliseconds) }

    /// A moment of the loop's clock on `tagClock`.
    @inline(__always)
    package func tagClock(at milliseconds: UInt64) -> Int64 { Int64(clamping: milliseconds &+ tagClockLead) }

    /// A moment of the past, in seconds since 1970, on the clock of `tagClock`. A moment in the future is taken for the
    /// present.
    func tagClock(ofSeconds seconds: Int64) -> Int64 {
        let age = max(0, EventLoop.unixSeconds.subtractingSaturated(seconds))
        return tagClock.subtractingSaturated(age.multipliedSaturated(by: 1000))
    }

    /// Records a check for the file.
    func noteCheck(_ name: TagName, at checkedMilliseconds: Int64) {
        let age = max(0, tagClock.subtractingSaturated(checkedMilliseconds)) / 1000
        tagChecks.unwritten[name] = max(0, EventLoop.unixSeconds.subtractingSaturated(age))
    }

    /// The last check of a tag from the disk: what `CHECKS` has of it, or the time of its file.
    func lastCheck(_ name: TagName, _ record: TagRecord) -> Int64 {
        let noted = name.withBytes { bytes in bytes.withText { tagChecks.table?.seconds(of: $0) } }
        return max(noted ?? 0, record.resolvedAtSeconds)
    }

    // MARK: The file

    /// Calls `then` when the last checks are known: now, or when the file has been read.
    func whenChecksKnown(_ then: @escaping () -> Void) {
        guard !tagChecks.isLoaded else { return then() }
        tagChecks.waiting.append(then)
        if tagChecks.waiting.count == 1 { loadChecks() }
    }

    private func loadChecks() {
        let (layout, now) = (layout, EventLoop.unixSeconds)
        withCheckFile({ () throws(StoreError) in try CheckFile.load(layout, now: now) }) { [self] result in
            tagChecks.isLoaded = true
            switch result {
            case .success(let content):
                tagChecks.table = content.table
                (tagChecks.file, tagChecks.isTorn) = (content.state, content.isTorn)
                if let error = content.error { logger.error("store: checks of tags cannot be written: \(error)") }
                if content.skippedBytes > 0 {
                    logger.warning(
                        "store: CHECKS was too large: the oldest checks of tags are not known",
                        metadata: ["skipped_bytes": "\(content.skippedBytes)"])
                }
            case .failure(let error):
                tagChecks.isTorn = true
                logger.error("store: the last checks of tags are not known: \(error)")
            }
            let waiting = tagChecks.waiting
            tagChecks.waiting = []
            for action in waiting { action() }
        }
    }

    /// Drops the file's content when every tag is in memory. Freed in the pool: a large table takes long.
    func endUsingCheckTable() {
        guard let table = tagChecks.table else { return }
        tagChecks.table = nil
        offload.run {
            table.removeAll()
        } then: { _ in
        }
    }

    /// Appends the new checks, or rewrites the file when most of it is obsolete: one job at a time, since jobs must not
    /// pile up behind a hanging disk.
    func saveChecks() {
        guard tagChecks.isLoaded, !tagChecks.isBusy else { return }
        guard isRecovered, tagChecks.file.isWorthRewriting(entries: tags.count) else { return appendChecks() }
        let (layout, now) = (layout, EventLoop.unixSeconds)
        withCheckFile({ () throws(StoreError) in try CheckFile.rewrite(layout, now: now) }) { [self] result in
            switch result {
            case .success(let state): (tagChecks.file, tagChecks.isTorn) = (state, false)
            case .failure(let error):
                logger.error("store: CHECKS cannot be rewritten: \(error)")
                // Not tried again every minute.
                tagChecks.file = LineFile.State()
            }
            appendChecks()
        }
    }

    /// Performs the last operation before the store closes.
    func finishChecks() { appendChecks() }

    private func appendChecks() {
        let checks = tagChecks.unwritten
        guard !checks.isEmpty else { return }
        tagChecks.unwritten = [:]
        let (layout, isTorn, lines) = (layout, tagChecks.isTorn, tagChecks.file.lines)
        withCheckFile({ () throws(StoreError) in
            try CheckFile.append(checks, isTorn: isTorn, to: lines, layout)
        }) { [self] result in
            switch result {
            case .success(let state): (tagChecks.file, tagChecks.isTorn) = (state, false)
            case .failure(let error):
                tagChecks.isTorn = true
                tagChecks.unwritten.merge(checks.filter { name, _ in name.withBytes { tags.record($0) } != nil }) {
                    newer, _ in newer
                }
                logger.error("store: checks of tags cannot be written: \(error)")
            }
        }
    }

    /// Runs a job that reads or writes the file, after the earlier ones.
    private func withCheckFile<R: Sendable>(
        _ work: @escaping @Sendable () throws(StoreError) -> R, then: @escaping (Result<R, StoreError>) -> Void
    ) {
        workBegins()
        tagChecks.isBusy = true
        checkChain.attempt(work) { [self] result in
            tagChecks.isBusy = !checkChain.isIdle
            then(result)
            workEnds()
        }
    }
}
