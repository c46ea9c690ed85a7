// The wiring: every part of a running server, made here in the order of the floors, and ended here in the reverse
// order. Reading this file is reading the map of the program.

import Glibc
import Logging
import Registry

/// A server from start to end.
final class Running {
    /// What runs when the server is told to stop may take this long to finish; clients pull on from where they were
    /// cut.
    static let drainMilliseconds: UInt64 = 24_000
    /// What may take this long on top: closing upstream transfers and flushing the store. Both together stay below the
    /// 30 s after which Kubernetes kills.
    static let closeMilliseconds: UInt64 = 4_000

    private let config: Config
    private let logger: Logger
    private let log: LogWriter
    private let loop: EventLoop
    private let offload: Offload
    private let store: Store
    private let client: UpstreamClient
    private let puller: Puller
    private let server: Server
    private var signals: [SignalWatcher] = []
    private var deadline: Timer?
    private var isStopping = false

    init(config: Config, logger: Logger, log: LogWriter) throws {
        self.config = config
        self.logger = logger
        self.log = log
        loop = try EventLoop()
        offload = Offload(on: loop)
        store = try Store.open(imagePath: config.imagePath, loop: loop, offload: offload, logger: logger)
        client = UpstreamClient(
            loop: loop, registries: config.registries,
            noProgressMilliseconds: UInt64(config.pullTimeoutMilliseconds),
            userAgent: "ociregistry/\(Version.text)", logger: logger)
        puller = Puller(
            context: PullContext(
                loop: loop, offload: offload, store: store, client: client, logger: logger,
                prefetchLayers: config.prefetchLayers))
        let api = API(
            loop: loop, offload: offload, store: store, puller: puller,
            policy: API.Policy(
                airGapped: config.airGapped, alwaysPullLatest: config.alwaysPullLatest,
                defaultHost: config.defaultNamespace),
            builtin: config.helloWorld ? Builtin(HelloWorldImage()) : nil, logger: logger)
        server = Server(
            on: loop, offload: offload, logger: logger, descriptorLimit: ProcessSetup.descriptorLimit
        ) { api.handle($0, $1, $2) }
    }

    /// Listens, and returns when the server has been told to stop and has finished.
    func run() throws {
        let address = try server.listen(host: config.host, port: config.port)
        signals = [
            try SignalWatcher(on: loop, signal: SIGTERM) { [unowned self] in stop("SIGTERM") },
            try SignalWatcher(on: loop, signal: SIGINT) { [unowned self] in stop("SIGINT") },
            try SignalWatcher(on: loop, signal: SIGHUP) { [unowned self] in log.reopen() },
        ]
        store.startRecovery()
        LogFile.writeToStandardError(Banner.text(config, address: address.text))
        loop.run()
        logger.info("stopped")
        guard offload.inFlight > 0 else { return }
        // At a program's usual end libuv waits for its threads, and a disk that hangs would keep this one for ever.
        log.close()
        _exit(0)
    }

    /// First asks everything to finish; asked again, it does not wait.
    private func stop(_ signal: String) {
        guard !isStopping else { return server.closeAll() }
        isStopping = true
        logger.info("stopping", metadata: ["signal": "\(signal)"])
        let timer = Timer(on: loop) { [unowned self] in server.closeAll() }
        timer.start(afterMilliseconds: Running.drainMilliseconds)
        deadline = timer
        server.drain { [unowned self] in closeRest() }
    }

    /// No client is left. Whatever upstreams or disks do, the process ends.
    private func closeRest() {
        deadline?.close()
        let timer = Timer(on: loop) { [unowned self] in
            logger.error("something did not end in time; leaving it")
            loop.stop()
        }
        timer.start(afterMilliseconds: Running.closeMilliseconds)
        puller.close()
        client.close()
        store.close { [unowned self] in loop.stop() }
    }
}
