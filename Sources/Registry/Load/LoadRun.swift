// One load from start to end for somebody who watches: what it says of itself, how far it is at short intervals, and an
// end that comes only when everything is on the disk. `load` runs it in its own process, a server for its operator.

package final class LoadRun {
    /// Between two reports of how far it is: quick enough to look alive.
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

    /// Loads FILES, as `Loader.load` takes them. Keeps itself alive until the end.
    package func start(_ files: String) {
        refusedBefore = context.store.refusedWrites
        let timer = Timer(on: context.loop) { [self] in emit(.progress(loader.progress)) }
        timer.start(afterMilliseconds: 0, everyMilliseconds: LoadRun.pauseMilliseconds)
        ticks = timer
        loader.load(files) { [self] report in
            // Names and manifests that pulls have brought may still be on their way to the disk.
            context.store.whenWritten { [self] in end(report) }
        }
    }

    package func stop() { loader.stop() }

    private func end(_ report: LoadReport) {
        ticks?.close()
        ticks = nil
        var report = report
        // What a pull could not write is in the log alone, since its client has been served.
        let refused = context.store.refusedWrites - refusedBefore
        if refused > 0, report.failures.isEmpty {
            report.failures.append(
                LoadFailure(file: "the cache", image: nil, reason: "\(refused) writes were refused; see the log"))
        }
        emit(.ended(report))
    }
}
