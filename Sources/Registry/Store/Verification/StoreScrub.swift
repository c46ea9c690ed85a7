// The scrub: all content is hashed again in the background, so that damage is found while an upstream can still replace
// it. It works in small steps at a limited rate, and pauses while the pool is fully busy.

package import Configuration
internal import Logging

/// Hashes a store's content in repeated passes. Its owner must retain it until `close`.
package final class StoreScrub {
    /// How often progress is saved: a crash repeats at most a minute's work.
    static let saveMilliseconds: UInt64 = 60_000
    /// How long a step waits while the pool is fully busy.
    static let busyPauseMilliseconds: UInt64 = 100
    /// The longest wait by the loop's clock, after which the calendar time is checked again.
    static let longestWaitSeconds: Int64 = 86_400

    private let store: Store
    /// Nil: nothing is hashed.
    private var schedule: ScrubSchedule?
    private var pace: ScrubPace
    private var state = ScrubState()
    private var check: StoreCheck?
    private var timer: Timer?
    /// Saves the progress, one write at a time, since they use the same temporary file.
    private let saving: SerialOffload
    private var isStarted = false
    /// Whether the state of earlier processes is being read, and has been.
    private var isLoading = false
    private var isLoaded = false
    private var isStepping = false
    private var isUnsaved = false
    private var savedMilliseconds: UInt64 = 0
    /// Damaged files found by this process in the current pass.
    private var damagedCount = 0

    /// - Parameter schedule: nil: nothing is hashed until `reload` gives one.
    package init(_ store: Store, _ schedule: ScrubSchedule?) {
        self.store = store
        self.schedule = schedule
        pace = ScrubPace(bytesPerSecond: schedule?.bytesPerSecond ?? ScrubSchedule.usualBytesPerSecond)
        saving = SerialOffload(store.offload)
    }

    /// Continues the pass of an earlier process, or waits until the next one is due. Must be called after recovery.
    package func start() {
        isStarted = true
        resume()
    }

    /// Takes another schedule. The pass that runs continues by it, and without one ends after the running step; its
    /// progress is kept.
    package func reload(_ schedule: ScrubSchedule?) {
        guard schedule != self.schedule else { return }
        self.schedule = schedule
        guard let schedule else { return close() }
        pace = ScrubPace(bytesPerSecond: schedule.bytesPerSecond)
        if isStarted { resume() }
    }

    private func resume() {
        guard schedule != nil, !store.isClosing else { return }
        if timer == nil {
            let timer = Timer(on: store.loop) { [unowned self] in timerFired() }
            timer.unreference()
            self.timer = timer
        }
        if isLoaded { timerFired() } else { load() }
    }

    private func load() {
        guard !isLoading else { return }
        isLoading = true
        let layout = store.layout
        store.perform({ () throws(StoreError) in try ScrubState.load(layout) }) { [self] result in
            isLoaded = true
            switch result {
            case .success(let former): state = former
            case .failure(let error): store.logger.error("scrub: earlier progress is not known: \(error)")
            }
            store.scrub.lastCompleteSeconds = state.completedSeconds
            timerFired()
        }
    }

    /// Ends it after the running step, and saves the progress of the pass.
    package func close() {
        timer?.close()
        timer = nil
        if !isStepping { stopChecking() }
    }

    private var isClosed: Bool { timer == nil || store.isClosing }

    private func stopChecking() {
        check = nil
        store.scrub.isRunning = false
        save()
    }

    /// Runs when the next pass or step is due, or to check again whether the pool is busy.
    private func timerFired() {
        guard !isClosed, !isStepping, let schedule else { return }
        if check != nil { return step() }
        if !state.isInPass {
            let seconds = state.secondsToNext(schedule.intervalSeconds, now: EventLoop.unixSeconds)
            guard seconds <= 0 else {
                let wait = min(seconds, StoreScrub.longestWaitSeconds)
                timer?.start(afterMilliseconds: UInt64(clamping: wait) * 1000)
                return
            }
            state.startedSeconds = EventLoop.unixSeconds
            (state.position, state.files, state.bytes) = ("", 0, 0)
            isUnsaved = true
        }
        begin()
    }

    private func begin() {
        check = StoreCheck(inBackgroundOf: store.layout, after: state.position ?? "")
        damagedCount = 0
        store.scrub.isRunning = true
        store.scrub.passBytes = state.bytes
        store.logger.info(
            "scrub: begins", metadata: ["files": "\(state.files)", "bytes": "\(state.bytes)"])
        save()
        step()
    }

    // MARK: Steps

    private func step() {
        guard let check, !isClosed else { return }
        guard store.offload.inFlight < Offload.threads else {
            timer?.start(afterMilliseconds: StoreScrub.busyPauseMilliseconds)
            return
        }
        isStepping = true
        let (before, stepBytes) = (check.progress, pace.stepBytes)
        store.perform({ () throws(StoreError) in check.next(stepBytes) }) { [self] result in
            count(check, since: before)
            switch result {
            // The pool refuses jobs only when the process is ending.
            case .failure: ended(check, before, isOver: false)
            case .success(.end): ended(check, before, isOver: true)
            case .success(.right): ended(check, before, isOver: false)
            case .success(.wrong(let fault)):
                damagedCount += 1
                store.setAside(fault, foundBy: .scrub) { [self] _ in ended(check, before, isOver: false) }
            }
        }
    }

    /// Counts the work of the last step.
    private func count(_ check: StoreCheck, since before: VerifyProgress) {
        let files = Int64(check.progress.files - before.files)
        let bytes = check.progress.bytes - before.bytes
        state.files += files
        state.bytes += bytes
        state.position = check.position
        isUnsaved = true
        store.scrub.files &+= UInt64(clamping: files)
        store.scrub.bytes &+= UInt64(clamping: bytes)
        store.scrub.passBytes = state.bytes
        for reason in check.takeUnreadable() { store.logger.error("scrub: \(reason)") }
    }

    private func ended(_ check: StoreCheck, _ before: VerifyProgress, isOver: Bool) {
        isStepping = false
        if isOver { return passEnded() }
        guard !isClosed else { return stopChecking() }
        if store.loop.nowMilliseconds >= savedMilliseconds + StoreScrub.saveMilliseconds { save() }
        let done = check.progress.bytes - before.bytes
        // Opening files takes disk time as well.
        let opened = Int64(check.progress.files - before.files) * Int64(StoreCheck.bytesPerFile)
        let pause = pace.pause(after: done + opened, now: Int64(clamping: store.loop.nowMilliseconds))
        timer?.start(afterMilliseconds: pause)
    }

    private func passEnded() {
        let now = EventLoop.unixSeconds
        (state.position, state.completedSeconds) = (nil, now)
        isUnsaved = true
        store.scrub.lastCompleteSeconds = now
        let seconds = max(0, now - state.startedSeconds)
        store.logger.notice(
            "scrub: pass complete",
            metadata: [
                "files": "\(state.files)", "bytes": "\(state.bytes)", "damaged": "\(damagedCount)",
                "seconds": "\(seconds)",
            ])
        if let schedule, seconds > schedule.intervalSeconds {
            store.logger.warning(
                "scrub: a pass took longer than scrub.interval; the next begins at once (scrub.bytesPerSecond)",
                metadata: ["seconds": "\(seconds)", "interval": "\(schedule.intervalSeconds)"])
        }
        stopChecking()
        timerFired()
    }

    private func save() {
        guard isUnsaved, !store.isClosing else { return }
        isUnsaved = false
        savedMilliseconds = store.loop.nowMilliseconds
        let (state, layout) = (state, store.layout)
        store.workBegins()
        saving.attempt({ () throws(StoreError) in try state.save(layout) }) { [store] result in
            if let error = result.failure { store.logger.error("scrub: progress cannot be written: \(error)") }
            store.workEnds()
        }
    }
}
