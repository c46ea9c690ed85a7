// `/metrics` and its HTML page, on a port of their own. Counters are read on the loop. Values from the kernel or the
// disk are read in the pool first, once for all waiting scrapes, and the pool compresses the text for clients that
// accept gzip. When the pool hangs, which is when metrics matter most, the other values are still sent.

internal import ImageArchive
internal import OCI

/// Answers the requests of the metrics listener.
package final class MetricsEndpoint {
    /// How long a scrape waits for the pool, where nothing else is said, before it gets the pool's previous values.
    package static let readingDeadlineMilliseconds: UInt64 = 500
    /// Reserved size of the text: a usual Prometheus scrape is smaller.
    static let usualBytes = 128 * 1024

    /// The parts of the server that are read.
    package struct Sources {
        package let store: Store
        package let puller: Puller
        package let client: UpstreamClient
        package let server: Server
        package let probes: ReadinessProbes
        package let droppedLogLines: () -> UInt64

        package init(
            store: Store, puller: Puller, client: UpstreamClient, server: Server, probes: ReadinessProbes,
            droppedLogLines: @escaping () -> UInt64
        ) {
            self.store = store
            self.puller = puller
            self.client = client
            self.server = server
            self.probes = probes
            self.droppedLogLines = droppedLogLines
        }
    }

    /// An HTML page and its response fields.
    package struct Page {
        package let html: [UInt8]
        package let fields: [(String, String)]

        package init(html: [UInt8], fields: [(String, String)]) {
            self.html = html
            self.fields = fields
        }
    }

    private let loop: EventLoop
    private let offload: Offload
    private let metrics: Metrics
    private let sources: Sources
    private let page: Page?
    private let readingDeadlineMilliseconds: UInt64
    private var readings = Readings()
    /// Scrapes that wait for the next reading; the listener's connection limit bounds them.
    private var waiting: [Scrape] = []
    /// Scrapes that wait for the text being compressed.
    private var compressing: [Scrape] = []
    /// Whether the pool reads or compresses for some scrapes. Others wait, so that one such job runs at a time.
    private var isBusy = false

    /// A client that waits for the text.
    private struct Scrape {
        let waiting: PendingResponse
        let prefersGzip: Bool
    }

    /// - Parameters:
    ///   - build: names and versions for `ociregistry_build_info`.
    ///   - readingDeadlineMilliseconds: how long a scrape waits for the pool before it gets the pool's previous values.
    package init(
        loop: EventLoop, offload: Offload, metrics: Metrics, sources: Sources,
        build: [(label: String, value: String)], page: Page?,
        readingDeadlineMilliseconds: UInt64 = MetricsEndpoint.readingDeadlineMilliseconds
    ) {
        self.loop = loop
        self.offload = offload
        self.metrics = metrics
        self.sources = sources
        self.page = page
        self.readingDeadlineMilliseconds = readingDeadlineMilliseconds
        readings.build = build
    }

    /// Answers `/metrics`, and `/` with the page; anything else is a 404.
    package func handle(_ connection: Connection, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer) {
        guard head.method == .get || head.method == .head else {
            return respond(connection, 405, "only GET and HEAD\n", [("Allow", "GET, HEAD")])
        }
        let path = head.path.in(bytes)
        if path.equals("/metrics") {
            return scrape(connection, prefersGzip: AcceptEncoding(Headers(head, in: bytes)).prefersGzip)
        }
        guard path.equals("/"), let page else {
            return respond(connection, 404, "there is /metrics, and a page at /\n")
        }
        let fields = ResponseFields.plain(
            contentType: "text/html; charset=utf-8", length: page.html.count, extra: page.fields)
        connection.respond(status: 200, fields: fields, body: page.html)
    }

    private func respond(
        _ connection: Connection, _ status: Int, _ text: String, _ extra: [(String, String)] = []
    ) {
        let body = Array(text.utf8)
        let fields = ResponseFields.plain(
            contentType: "text/plain; charset=utf-8", length: body.count, extra: extra)
        connection.respond(status: status, fields: fields, body: body)
    }

    // MARK: A scrape

    private func scrape(_ connection: Connection, prefersGzip: Bool) {
        let wait = PendingResponse(connection, deadlineMilliseconds: readingDeadlineMilliseconds) {
            [self] connection in answerLate(connection)
        }
        waiting.append(Scrape(waiting: wait, prefersGzip: prefersGzip))
        startReading()
    }

    private func startReading() {
        guard !isBusy, !waiting.isEmpty else { return }
        isBusy = true
        var left = 2
        let answerWhenRead: () -> Void = { [self] in
            left -= 1
            if left == 0 { answerWaiting() }
        }
        sources.probes.askPulling { [self] outcome in
            readings.isReadyForPulls = outcome.isReady
            answerWhenRead()
        }
        let disk = sources.store.diskReading
        offload.run {
            (ProcessReadings.now(), disk())
        } then: { [self] (result: Result<(ProcessReadings, DiskReadings), any Error>) in
            if case .success((let process, let disk)) = result {
                readings.process = process
                readings.store.disk = disk
            }
            answerWhenRead()
        }
    }

    /// Sends one text to all waiting scrapes: at once, or as gzip after the pool has compressed it.
    private func answerWaiting() {
        let all = waiting.filter { !$0.waiting.isAnswered }
        waiting = []
        guard !all.isEmpty else { return finish() }
        let text = compose()
        for scrape in all where !scrape.prefersGzip { scrape.waiting.answer { send(text, coding: nil, to: $0) } }
        compressing = all.filter(\.prefersGzip)
        guard !compressing.isEmpty else { return finish() }
        offload.run {
            Gzip.member(of: text)
        } then: { [self] (result: Result<[UInt8]?, any Error>) in
            let member = (try? result.get()).flatMap { $0 }
            for scrape in compressing {
                scrape.waiting.answer { send(member ?? text, coding: member == nil ? nil : "gzip", to: $0) }
            }
            compressing = []
            finish()
        }
    }

    private func finish() {
        isBusy = false
        startReading()
    }

    /// The pool is late: sends all waiting scrapes one text with the values known on the loop.
    private func answerLate(_ connection: Connection) {
        let text = compose()
        send(text, coding: nil, to: connection)
        for scrape in waiting + compressing { scrape.waiting.answer { send(text, coding: nil, to: $0) } }
        waiting = []
        compressing = []
    }

    private func compose() -> [UInt8] {
        let start = EventLoop.nowNanoseconds
        read()
        let text = Catalog.exposition(metrics, readings, reserving: MetricsEndpoint.usualBytes)
        readings.lastScrapeNanoseconds = EventLoop.nowNanoseconds &- start
        return text
    }

    private func send(_ body: [UInt8], coding: String?, to connection: Connection) {
        var extra = [("Cache-Control", "no-store"), ("Vary", "Accept-Encoding")]
        if let coding { extra.append(("Content-Encoding", coding)) }
        let fields = ResponseFields.plain(contentType: Exposition.contentType, length: body.count, extra: extra)
        connection.respond(status: 200, fields: fields, body: body)
    }

    /// Reads the values known on the loop.
    private func read() {
        let disk = readings.store.disk
        readings.store = sources.store.readings
        readings.store.disk = disk
        readings.openConnections = sources.server.connectionCount
        readings.pullsInFlight[Int(PullKind.blob.rawValue)] = sources.puller.runningBlobs
        readings.pullsInFlight[Int(PullKind.manifest.rawValue)] = sources.puller.manifestsInFlight
        readings.pullsQueued = sources.puller.blobsInFlight - sources.puller.runningBlobs
        readings.upstreamRequestsInFlight = sources.client.exchangeCount
        readings.connect = sources.client.connectReading
        readings.rateLimitSeconds = [:]
        for (host, seconds) in sources.client.rateLimitSeconds {
            let number = metrics.number(of: host) ?? Namespaces.other
            readings.rateLimitSeconds[number] = max(seconds, readings.rateLimitSeconds[number] ?? 0)
        }
        readings.rateLimitedRequests = sources.client.rateLimitedCount
        readings.logLinesDropped = sources.droppedLogLines()
        readLoop()
    }

    private func readLoop() {
        readings.loop.iterations = loop.iterations
        readings.loop.idleNanoseconds = loop.idleNanoseconds
        readings.loop.activeHandles = loop.activeHandles
        readings.loop.poolThreads = Offload.threads
        readings.loop.poolJobsInFlight = offload.inFlight
        readings.loop.poolWaits = offload.waits
        readings.loop.poolRuns = offload.runs
        readings.loop.transfers = sources.client.transferCount
        readings.loop.growingBlobs = sources.puller.blobsInFlight
    }
}
