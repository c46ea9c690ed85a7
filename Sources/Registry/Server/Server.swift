// The listening side: accepts connections up to a cap, keeps them in a list, closes those that time out, and drains.

package import Logging
internal import OCI

/// An HTTP/1.1 server on one address.
package final class Server {
    /// The part of the descriptor limit kept for everything that is not a client connection: open blobs, partial files,
    /// upstream sockets, the log.
    static let descriptorsReserved = 2048
    /// Most connections beyond the cap that get an error response at one time; further ones are closed without one.
    static let mostRefusals = 256
    /// Interval of checking deadlines, and so their precision.
    static let sweepMilliseconds: UInt64 = 1000
    /// The same while the server drains, when its end waits for the deadlines of idle connections.
    static let drainSweepMilliseconds: UInt64 = 100

    /// Answers one request, now or later, by one of the connection's `respond` methods.
    package typealias Handler = (Connection, RequestHead, UnsafeRawBufferPointer) -> Void

    package let loop: EventLoop
    let offload: Offload
    package private(set) var logger: Logger
    let handler: Handler
    /// Whether each request is logged, determined when the logger or its level changes: asking the logger costs more
    /// than a hot request can spend.
    private(set) var logsRequests: Bool
    /// Counts requests; nil for a server whose requests are not counted.
    let metrics: Metrics?
    private let maximumConnections: Int
    /// Refusals take descriptors as well: an eighth of a small limit.
    private let maximumRefusals: Int
    private var listeners: [TCPListener] = []
    private var unixListener: UnixListener?
    private var sweeper: Timer?
    private var connections: [Connection] = []
    /// Connections beyond the cap that are being refused with an error response; in `connections`, but not counted by
    /// the cap.
    private(set) var refusals = 0
    private let prefixes: ResponsePrefixes
    var requestIDs = RequestIDSource()
    /// Shared by all connections: clients of one kind send the same fields.
    var fieldsMemory: FieldsMemory? = FieldsMemory()
    private var prefixSecondEnds: UInt64 = 0
    private var whenIdle: (() -> Void)?
    /// File systems without `sendfile` (`OpenFile.device`): at most as many as the cache is spread over.
    private var devicesWithoutSendfile: Set<UInt64> = []
    /// Buffer for small bodies and the first pieces of large ones; its content is not used after a call.
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: Server.scratchBytes, alignment: 4096)

    /// Bodies up to this size are sent in one write with their head: by measurement, copying this much is cheaper than
    /// a second call.
    static let scratchBytes = 64 * 1024

    /// Whether the server is draining: each response announces it and closes the connection.
    package private(set) var isDraining = false

    package init(
        on loop: EventLoop, offload: Offload, logger: Logger, descriptorLimit: Int, metrics: Metrics? = nil,
        handler: @escaping Handler
    ) {
        self.loop = loop
        self.offload = offload
        self.logger = logger
        self.metrics = metrics
        self.handler = handler
        logsRequests = logger.logLevel <= .info
        prefixes = ResponsePrefixes(unixSeconds: EventLoop.unixMilliseconds / 1000)
        maximumConnections = max(descriptorLimit / 2, descriptorLimit - Server.descriptorsReserved)
        maximumRefusals = min(Server.mostRefusals, descriptorLimit / 8)
    }

    deinit { scratch.deallocate() }

    /// Logs later requests with this logger, at its present level.
    package func log(to logger: Logger) {
        self.logger = logger
        logsRequests = logger.logLevel <= .info
    }

    /// Binds, listens and starts answering.
    /// - Returns: the bound address, `host:port`, and the port (a free one for 0).
    package func listen(host: String, port: UInt16) throws(LoopError) -> (text: String, port: UInt16) {
        let listener = try TCPListener(on: loop, host: host, port: port) { [unowned self] in accept($0) }
        listeners.append(listener)
        startSweeping()
        return listener.address
    }

    /// Starts answering on sockets that another process has opened. Closing them later leaves that process's copies
    /// open, so connections that arrive then wait for the next server.
    package func listen(on sockets: [ListeningSocket]) throws(LoopError) {
        for socket in sockets {
            listeners.append(try TCPListener(on: loop, taking: socket) { [unowned self] in accept($0) })
        }
        startSweeping()
    }

    /// Listens on a Unix socket that only its owner may open. An existing socket is replaced.
    package func listen(unixSocket path: String) throws(LoopError) {
        unixListener = try UnixListener(on: loop, path: path) { [unowned self] in accept($0) }
        startSweeping()
    }

    private func startSweeping() {
        guard self.sweeper == nil else { return }
        let sweeper = Timer(on: loop) { [unowned self] in sweep() }
        sweeper.start(afterMilliseconds: Server.sweepMilliseconds, everyMilliseconds: Server.sweepMilliseconds)
        sweeper.unreference()
        self.sweeper = sweeper
    }

    package var connectionCount: Int { connections.count }

    /// Whether a file system is known to lack `sendfile`.
    func hasNoSendfile(_ device: UInt64) -> Bool {
        !devicesWithoutSendfile.isEmpty && devicesWithoutSendfile.contains(device)
    }

    /// Records that files of this file system have to be read and sent.
    func noteNoSendfile(_ device: UInt64) {
        guard devicesWithoutSendfile.insert(device).inserted else { return }
        logger.notice("sendfile is refused for files of the cache; they are read and sent instead")
    }

    /// The first piece of a response head, with the current date. Valid until the next call.
    func prefix(status: Int, close: Bool) -> UnsafeRawBufferPointer {
        if loop.nowMilliseconds >= prefixSecondEnds { refreshDate() }
        return prefixes.bytes(status: status, close: close)
    }

    /// Updates the date once a second at most, since the loop's clock is cheaper to read than the wall clock.
    private func refreshDate() {
        let milliseconds = EventLoop.unixMilliseconds
        prefixes.refresh(unixSeconds: milliseconds / 1000)
        prefixSecondEnds = loop.nowMilliseconds + UInt64(clamping: 1000 - milliseconds % 1000)
    }

    // MARK: Connections

    private func accept(_ descriptor: Int32) {
        guard let connection = try? Connection(server: self, descriptor: descriptor) else {
            metrics?.requests.connectionsRefused &+= 1
            return
        }
        // Refusals do not count: otherwise a flood of them would keep the server full after all other clients had left.
        let isFull = connections.count - refusals >= maximumConnections || isDraining
        if isFull { metrics?.requests.connectionsRefused &+= 1 }
        guard !isFull || refusals < maximumRefusals else { return connection.close() }
        connection.index = connections.count
        connections.append(connection)
        if isFull {
            refusals += 1
            connection.isRefused = true
            connection.refuse(.unavailable("too many connections"))
        } else {
            metrics?.requests.connectionsAccepted &+= 1
            connection.startReading()
        }
    }

    /// Removes a connection whose handle has closed.
    func removed(_ connection: Connection) {
        if connection.isRefused { refusals -= 1 }
        let index = connection.index
        guard connections.indices.contains(index), connections[index] === connection else { return }
        connections.swapAt(index, connections.count - 1)
        connections.removeLast()
        if index < connections.count { connections[index].index = index }
        if connections.isEmpty, isDraining { finishDraining() }
    }

    private func sweep() {
        let now = loop.nowMilliseconds
        // Deadlines only request closing; the list changes in close callbacks.
        for connection in connections { connection.checkDeadlines(now: now) }
    }

    // MARK: Ending

    /// Stops accepting, lets current requests finish, closes idle connections, then calls `then`. A connection counts
    /// as idle after `Connection.drainIdleMilliseconds`.
    package func drain(then: @escaping () -> Void) {
        isDraining = true
        whenIdle = then
        for listener in listeners { listener.close() }
        listeners = []
        unixListener?.close()
        unixListener = nil
        for connection in connections { connection.closeIfIdle() }
        guard !connections.isEmpty else { return finishDraining() }
        sweeper?.start(
            afterMilliseconds: Server.drainSweepMilliseconds, everyMilliseconds: Server.drainSweepMilliseconds)
    }

    /// Closes every connection at once.
    package func closeAll() {
        for connection in connections { connection.close() }
    }

    private func finishDraining() {
        sweeper?.close()
        sweeper = nil
        let then = whenIdle
        whenIdle = nil
        then?()
    }
}
