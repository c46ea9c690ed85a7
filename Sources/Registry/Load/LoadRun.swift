// One load with events: results, progress at short intervals, and an end after everything is on the disk. `load` runs
// it in its own process, a server runs it as an admin job.

/// Runs one load and emits its events.
package final class LoadRun {
    /// Interval of progress events, short enough for a smooth display.
    package static let pauseMilliseconds: UInt64 = 200

    private let context: LoadContext
    private let emit: (LoadRunEvent) -> Void
    private let loader: Loader
    private var ticks: Timer?
    private var refusedBefore: UInt64 = 0

    /// - Parameter emit: called with every event, `ended` last.
    package init(_ context: LoadContext, _ choices: LoadChoices, emit: @escaping (LoadRunEvent) -> Void) {
        self.context = context
        self.emit = emit
        loader = Loader(context, choices) { emit(.event($0)) }
    }

    /// Loads FILES, in the form of `Loader.load`. Retains itself until the end.
    package func start(_ files: String) {
        refusedBefore = context.store.refusedWrites
        let timer = Timer(on: context.loop) { [self] in emit(.progress(loader.progress)) }
        timer.start(afterMilliseconds: 0, everyMilliseconds: LoadRun.pauseMilliseconds)
        ticks = timer
        loader.load(files) { [self] report in
            // Names and manifests from pulls may not be on the disk yet.
            context.store.whenWritten { [self] in end(report) }
        }
    }

    package func stop() { loader.stop() }

    private func end(_ report: LoadReport) {
        ticks?.close()
        ticks = nil
        var report = report
        // A failed write of a pull is only logged, since the pull's client has been served.
        let refused = context.store.refusedWrites - refusedBefore
        if refused > 0, report.failures.isEmpty {
            report.failures.append(
                LoadFailure(file: "the cache", image: nil, reason: "\(refused) writes were refused; see the log"))
        }
        emit(.ended(report))
    }
}
