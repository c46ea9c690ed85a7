// The wiring of loads: `load` without a running server, and `--preload-images` inside one.

import ArgumentParser
import Configuration
import Glibc
import Logging
import OCI
import Registry

/// A load without a running server: the server's parts except its listeners, run until the load or a signal ends them.
final class Loading {
    private let loop: EventLoop
    private let store: Store
    private let client: UpstreamClient
    private let puller: Puller
    private let context: LoadContext
    private var choices: LoadChoices
    private var signals: [SignalWatcher] = []
    private var stoppedBy: Int32?

    init(config: Config, resolveAs: ImageName?, includesReferrers: Bool, logger: Logger) throws {
        loop = try EventLoop()
        let offload = Offload(on: loop)
        let metrics = Metrics(configured: config.registries.compactMap(\.name.host))
        store = try Store.open(
            imagePath: config.imagePath, loop: loop, offload: offload, logger: logger, limits: StoreLimits(config))
        client = UpstreamClient(config, loop: loop, offload: offload, logger: logger, metrics: metrics)
        // The report has the reasons.
        client.failureLevel = .warning
        puller = Puller(
            context: PullContext(
                loop: loop, offload: offload, store: store, client: client, logger: logger, metrics: metrics,
                settings: PullSettings(prefetchLayers: .never)))
        context = LoadContext(
            loop: loop, offload: offload, store: store, puller: puller,
            names: NameDecisions(config.namePolicy, loop: loop, offload: offload),
            tags: TagChecks(config.tags, puller: puller, airGapped: config.airGapped), pseudonym: "ociregistry-load")
        choices = LoadChoices(
            platforms: config.platforms, resolveAs: resolveAs, isAirGapped: config.airGapped)
        choices.includesReferrers = includesReferrers
    }

    /// Runs the load and returns when it has ended.
    /// - Throws: the exit status after a signal.
    func run(_ files: String, onEvent: @escaping (LoadRunEvent) -> Void) throws {
        let run = LoadRun(context, choices) { [unowned self] event in
            onEvent(event)
            if case .ended = event { finish() }
        }
        signals = [
            try SignalWatcher(on: loop, signal: SIGTERM) { [unowned self] in stop(SIGTERM, run) },
            try SignalWatcher(on: loop, signal: SIGINT) { [unowned self] in stop(SIGINT, run) },
        ]
        store.startRecovery()
        run.start(files)
        loop.run()
        if let stoppedBy { throw Exit.stopped(by: stoppedBy) }
    }

    /// A second signal ends the process at once: every write is safe at any moment.
    private func stop(_ signal: Int32, _ run: LoadRun) {
        if stoppedBy != nil { _exit(Exit.stopped(by: signal).rawValue) }
        stoppedBy = signal
        run.stop()
    }

    private func finish() {
        puller.close()
        client.close()
        store.close { [unowned self] in loop.stop() }
    }
}

extension Loader {
    /// `--preload-images`: starts loading the configured files and logs the events; nil when none are configured. The
    /// server serves from the start; an image that is not loaded yet is pulled on request.
    static func preload(_ config: Config, _ context: LoadContext, logger: Logger) -> Loader? {
        guard let files = config.preloadImages else { return nil }
        let choices = LoadChoices(platforms: config.platforms, isAirGapped: config.airGapped)
        let loader = Loader(context, choices) { event in
            switch event {
            case .loaded(let image, let file):
                logger.info("preloaded", metadata: ["image": "\(image)", "file": "\(file)"])
            case .present(let image, let file):
                logger.debug("preload: in the cache already", metadata: ["image": "\(image)", "file": "\(file)"])
            case .failed(let failure):
                var metadata: Logger.Metadata = ["file": "\(failure.file)", "reason": "\(failure.reason)"]
                if let image = failure.image { metadata["image"] = "\(image)" }
                logger.error("preload failed", metadata: metadata)
            }
        }
        loader.load(files) { report in
            logger.info("preload ended", metadata: report.counts)
        }
        return loader
    }
}
