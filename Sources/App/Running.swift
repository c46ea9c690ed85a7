// The wiring of a running server: its parts are created in the order of the layers and closed in the reverse order.
// This file is the map of the program.

import Configuration
import Glibc
import Logging
import Page
import Registry

/// A server from start to exit.
final class Running {
    /// Time for open requests to finish after a stop; clients resume an interrupted download where it was cut.
    static let drainMilliseconds: UInt64 = 24_000
    /// Additional time for closing upstream transfers and flushing the store. Both together stay below the 30 s after
    /// which Kubernetes kills a process.
    static let closeMilliseconds: UInt64 = 4_000

    private var settings: ServerSettings
    private var config: Config { settings.config }
    private var reloader: Reloader?
    /// The file that the server was started with; nil: none.
    private let configFile: String?
    /// The file before it was read at the start.
    private var initialFile: FileIdentity?
    private var watch: ConfigWatch?
    private let passed: PassedSockets
    private let notifier: ServiceNotifier
    private let logger: Logger
    private let log: LogWriter
    private let loop: EventLoop
    private let offload: Offload
    private let store: Store
    private var pruning: BackgroundPruning?
    private let scrub: StoreScrub
    private let client: UpstreamClient
    private let pullSettings: PullSettings
    private let puller: Puller
    private let api: API
    private let server: Server
    private let probes: ReadinessProbes
    private let health: HealthEndpoint
    private let healthServer: Server
    private let metrics: Metrics
    private var metricsServer: Server?
    private let loading: LoadContext
    private var preload: Loader?
    private var adminListeners: AdminListeners?
    private var signals: [SignalWatcher] = []
    private var deadline: Timer?
    private(set) var isStopping = false

    /// - Parameters:
    ///   - configFile: where `config` is from, and the file before it was read.
    ///   - passed: sockets that take the place of configured addresses.
    ///   - service: what the service manager asks for.
    ///   - readAgain: reads and checks the configuration for a reload; called on a thread of the pool.
    init(
        config: Config, configFile: (path: String, identity: FileIdentity?)?, logger: Logger, log: LogWriter,
        passed: PassedSockets, service: ServiceSettings,
        readAgain: @escaping @Sendable (_ running: Config) throws -> PreparedReload
    ) throws {
        let settings = try ServerSettings(config)
        self.settings = settings
        self.configFile = configFile?.path
        initialFile = configFile?.identity
        self.logger = logger
        self.log = log
        self.passed = passed
        loop = try EventLoop()
        notifier = ServiceNotifier(service, on: loop, logger: logger)
        let metrics = Metrics(configured: config.registries.compactMap(\.name.host))
        self.metrics = metrics
        offload = Offload(on: loop)
        store = try Store.open(
            imagePath: config.imagePath, loop: loop, offload: offload, logger: logger, limits: settings.limits)
        scrub = StoreScrub(store, config.scrub)
        store.onHostKnown = { metrics.admit($0) }
        client = UpstreamClient(config, loop: loop, offload: offload, logger: logger, metrics: metrics)
        pullSettings = PullSettings(
            prefetchLayers: config.prefetchLayers, prefetchReferrers: config.prefetchReferrers,
            aheadLimits: settings.aheadLimits, negativeCache: config.negativeCache)
        puller = Puller(
            context: PullContext(
                loop: loop, offload: offload, store: store, client: client, logger: logger, metrics: metrics,
                settings: pullSettings))
        api = API(
            loop: loop, offload: offload, store: store, puller: puller, policy: settings.policy,
            builtin: settings.builtin, logger: logger, metrics: metrics)
        server = Server(
            on: loop, offload: offload, logger: logger, descriptorLimit: ProcessSetup.descriptorLimit,
            metrics: config.metricsPort == nil ? nil : metrics
        ) { [api] in api.handle($0, $1, $2) }
        probes = ReadinessProbes(on: loop, store: store, pulls: !config.airGapped)
        let health = HealthEndpoint(store: store, offload: offload, probes: probes)
        self.health = health
        healthServer = Server(
            on: loop, offload: offload, logger: HealthEndpoint.logger(logger),
            descriptorLimit: HealthEndpoint.descriptorLimit
        ) { health.handle($0, $1, $2) }
        loading = LoadContext(
            loop: loop, offload: offload, store: store, puller: puller, names: api.names, tags: api.tags,
            pseudonym: api.pseudonym)
        let adminListeners = AdminListeners(
            settings: settings, context: loading, logger: logger, stop: { [unowned self] in stop($0) },
            reload: { [unowned self] in reload(then: $0) })
        api.admin = adminListeners.endpoint
        api.adminAccess = settings.servingAccess
        self.adminListeners = adminListeners
        reloader = Reloader(
            offload: offload, logger: logger, metrics: metrics, prepare: readAgain,
            running: { [unowned self] in self.config }, apply: { [unowned self] in use($0) })
        reloader?.onStart = { [notifier] in notifier.reloading() }
        reloader?.onEnd = { [notifier] in notifier.reloaded($0) }
        useDiagnostics()
        useWatch()
    }

    /// Watches the configuration file, or stops that.
    private func useWatch() {
        guard config.reloadOnChange, let configFile else {
            watch?.close()
            watch = nil
            return
        }
        guard watch == nil else { return }
        watch = ConfigWatch(configFile, used: initialFile, on: loop, offload: offload) { [unowned self] completion in
            reload { outcome in
                if case .success = outcome { completion(true) } else { completion(false) }
            }
        }
        // A watch that a later reload turns on reads the file once more.
        initialFile = nil
    }

    /// Answers `doctor`, or does not.
    private func useDiagnostics() {
        api.diagnostics =
            config.diagnostics
            ? DiagnosticsEndpoint(loop: loop, store: store, client: client, probes: probes, version: Version.text) : nil
    }

    /// Listens, and returns when a requested stop has finished.
    func run() throws {
        let address = try server.listen(passed[.serving], host: config.host, port: config.port)
        let healthAddress = try config.healthPort.map {
            try healthServer.listen(passed[.health], host: config.host, port: $0)
        }
        let metricsAddress = try config.metricsPort.map { try listenForMetrics(port: $0) }
        let adminAddress = try adminListeners?.open(passed[.admin])
        signals = [
            try SignalWatcher(on: loop, signal: SIGTERM) { [unowned self] in stop("SIGTERM") },
            try SignalWatcher(on: loop, signal: SIGINT) { [unowned self] in stop("SIGINT") },
            try SignalWatcher(on: loop, signal: SIGHUP) { [unowned self] in reload() },
        ]
        store.startRecovery { [unowned self] _ in scrub.start() }
        startPruning()
        puller.warmUp()
        preload = Loader.preload(config, loading, logger: logger)
        LogFile.writeToStandardError(
            Banner.text(
                config, address: address, metrics: metricsAddress, health: healthAddress, admin: adminAddress,
                passed: passed))
        notifier.announce("serving on http://\(address)") { [probes] in probes.askReading(then: $0) }
        loop.run()
        logger.info("stopped")
        guard offload.inFlight > 0 else { return }
        // At a normal exit libuv waits for its threads, and a hung disk would block one for ever.
        log.close()
        _exit(0)
    }

    /// - Returns: the bound address.
    private func listenForMetrics(port: UInt16) throws -> String {
        let endpoint = MetricsEndpoint(
            loop: loop, offload: offload, metrics: metrics,
            sources: .init(
                store: store, puller: puller, client: client, server: server, probes: probes,
                droppedLogLines: { [log] in log.droppedLinesTotal }),
            build: Version.parts, page: .init(html: Page.html, fields: Page.fields))
        let server = Server(
            on: loop, offload: offload, logger: Running.scrapeLogger(logger),
            descriptorLimit: Running.metricsDescriptors
        ) { endpoint.handle($0, $1, $2) }
        metricsServer = server
        return try server.listen(passed[.metrics], host: config.metricsHost ?? config.host, port: port)
    }

    /// A logger for scrapes, whose lines would fill the log.
    private static func scrapeLogger(_ logger: Logger) -> Logger {
        var quiet = logger
        quiet.logLevel = max(.notice, logger.logLevel)
        return quiet
    }

    private func startPruning() {
        pruning = settings.pruneSchedule.map { BackgroundPruning(store, $0) }
        pruning?.start()
    }

    /// Descriptor limit, twice the number of scraper connections; the kernel's limit is kept for clients.
    private static let metricsDescriptors = 128

    /// The first call lets open requests finish; the second closes every connection.
    private func stop(_ cause: String) {
        guard !isStopping else { return server.closeAll() }
        isStopping = true
        // The health listener stays open until the loop ends: a client gets "stopping", not a refused connection.
        health.isStopping = true
        reloader?.isStopping = true
        watch?.close()
        notifier.stopping("stopping: \(cause); \(server.connectionCount) connections are open")
        logger.info("stopping", metadata: ["cause": "\(cause)"])
        preload?.stop()
        scrub.close()
        let timer = Timer(on: loop) { [unowned self] in server.closeAll() }
        timer.start(afterMilliseconds: Running.drainMilliseconds)
        deadline = timer
        server.drain { [unowned self] in closeRest() }
    }

    /// Runs after the last client has left; a deadline ends the process even if an upstream or a disk hangs.
    private func closeRest() {
        deadline?.close()
        let timer = Timer(on: loop) { [unowned self] in
            logger.error("the store or upstream transfers did not close in time; exiting")
            loop.stop()
        }
        timer.start(afterMilliseconds: Running.closeMilliseconds)
        metricsServer?.drain {}
        metricsServer?.closeAll()
        preload?.stop()
        pruning?.close()
        adminListeners?.finish { [unowned self] in
            adminListeners?.close()
            puller.close()
            client.close()
            store.close { [unowned self] in
                notifier.close()
                loop.stop()
            }
        }
    }
}

// MARK: - A reload

extension Running {
    /// Opens the log anew, and reads the configuration again.
    private func reload(then: ((Reloader.Outcome) -> Void)? = nil) {
        log.reopen()
        reloader?.reload(then: then)
    }

    /// Puts other settings into use, all in one step of the loop: no request sees some of them without the others.
    /// Requests in progress end with what they began with.
    private func use(_ prepared: PreparedReload) {
        let former = settings
        settings = prepared.settings
        use(prepared.log)
        store.reload(settings.limits)
        client.reload(
            registries: config.registries, settings: UpstreamSettings(config),
            noProgressMilliseconds: settings.noProgressMilliseconds,
            credentials: CredentialSettings(config, offload: offload))
        pullSettings.prefetchLayers = config.prefetchLayers
        pullSettings.prefetchReferrers = config.prefetchReferrers
        pullSettings.aheadLimits = settings.aheadLimits
        pullSettings.negativeCache = config.negativeCache
        puller.upstreamsChanged()
        api.reload(settings.policy, builtin: settings.builtin)
        api.adminAccess = settings.servingAccess
        adminListeners?.reload(settings)
        probes.pulls = !config.airGapped
        useDiagnostics()
        useWatch()
        scrub.reload(config.scrub)
        if settings.pruneSchedule != former.pruneSchedule {
            pruning?.close()
            startPruning()
        }
        if settings.preloadsOthers(than: former) {
            preload?.stop()
            preload = Loader.preload(config, loading, logger: logger)
        }
    }

    private func use(_ destination: LogDestination?) {
        if let destination { log.move(to: destination) }
        log.level = config.logLevel
        log.format = config.logFormat
        server.log(to: logger)
        healthServer.log(to: HealthEndpoint.logger(logger))
        metricsServer?.log(to: Running.scrapeLogger(logger))
    }
}
