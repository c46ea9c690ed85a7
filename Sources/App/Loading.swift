// The wiring of `load`: the parts of a server without the server, ended when all is loaded or a signal says so.

import ArgumentParser
import Glibc
import Logging
import Registry

final class Loading {
    private let loop: EventLoop
    private let store: Store
    private let client: UpstreamClient
    private let puller: Puller
    private let progress: ProgressLines
    private var loader: Loader?
    private var signals: [SignalWatcher] = []
    private var ticks: Timer?
    private var stoppedBy: Int32?
    private var report: LoadReport?

    init(config: Config, resolveAs: ImageName?, logger: Logger) throws {
        loop = try EventLoop()
        let offload = Offload(on: loop)
        let metrics = Metrics(configured: config.registries.map(\.name))
        store = try Store.open(
            imagePath: config.imagePath, loop: loop, offload: offload, logger: logger, limits: StoreLimits(config))
        client = UpstreamClient(
            loop: loop, registries: config.registries,
            noProgressMilliseconds: UInt64(config.pullTimeoutMilliseconds),
            userAgent: "ociregistry/\(Version.text)", logger: logger, metrics: metrics)
        puller = Puller(
            context: PullContext(
                loop: loop, offload: offload, store: store, client: client, logger: logger, metrics: metrics,
                prefetchLayers: false))
        let progress = ProgressLines()
        self.progress = progress
        let context = LoadContext(
            loop: loop, offload: offload, store: store, puller: puller, pseudonym: "ociregistry-load")
        let choices = LoadChoices(
            platforms: config.platforms, resolveAs: resolveAs, isAirGapped: config.airGapped)
        loader = Loader(context, choices) { progress.tell($0) }
    }

    /// Loads, and returns when all is in the cache.
    /// - Throws: the exit status otherwise; what is wrong has been told by then.
    func run(_ files: String) throws {
        signals = [
            try SignalWatcher(on: loop, signal: SIGTERM) { [unowned self] in stop(SIGTERM) },
            try SignalWatcher(on: loop, signal: SIGINT) { [unowned self] in stop(SIGINT) },
        ]
        // Runs to the end: it also keeps the loop from ending before everything is told.
        let timer = Timer(on: loop) { [unowned self] in if let loader { progress.draw(loader.progress) } }
        timer.start(afterMilliseconds: 0, everyMilliseconds: ProgressLines.pauseMilliseconds)
        ticks = timer
        store.startRecovery()
        loader?.load(files) { [unowned self] in finish($0) }
        loop.run()
        if let report { progress.end(report) }
        if let stoppedBy { throw Exit.stopped(by: stoppedBy) }
        if report?.failures.isEmpty != true { throw ExitCode.failure }
    }

    /// Asked again, it does not wait: every write is safe at any moment.
    private func stop(_ signal: Int32) {
        if stoppedBy != nil { _exit(Exit.stopped(by: signal).rawValue) }
        stoppedBy = signal
        loader?.stop()
        puller.close()
    }

    private func finish(_ report: LoadReport) {
        self.report = report
        puller.close()
        client.close()
        store.close { [unowned self] in
            // A manifest or tag that a pull could not write is told by the store, to the log alone.
            let failures = store.readings.writeFailuresNoSpace + store.readings.writeFailuresOther
            if failures > 0, report.failures.isEmpty {
                self.report?.failures.append(
                    LoadFailure(file: "the cache", image: nil, reason: "\(failures) writes were refused; see the log"))
            }
            loop.stop()
        }
    }
}
