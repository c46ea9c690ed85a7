// The progress of one attempt's connection. curl reports when it opens a socket and when it is about to send the
// request; whether a socket has connected, or takes too long, is checked here.
//
// curl closes some sockets without a callback (in 7.88 those that have not connected), so a descriptor may belong to
// another file by the time it is checked. The inode shows whether it is still the same socket.

internal import Glibc

/// The state of one connection that is being made.
struct ConnectProgress {
    var phases: ConnectPhases
    /// The sockets that are connecting, in the order they were opened.
    private var sockets: [ConnectingSocket] = []
    /// Whether a socket was opened since `connected` was last called.
    private var hasOpenedSocket = false
    /// When curl last turned to an address.
    private var lastAddressMilliseconds: UInt64 = 0

    /// curl turns to the next address when one fails, and after 200 ms in any case (CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS);
    /// some time more is left for a busy loop.
    static let nextAddressMilliseconds: UInt64 = 400

    init(now: UInt64) { phases = ConnectPhases(now: now) }

    /// Called before a socket is opened for an address, or the address is refused.
    mutating func socketOpens(now: UInt64) {
        phases.socketOpened(now: now)
        hasOpenedSocket = true
        lastAddressMilliseconds = now
    }

    /// Whether every address has failed, although curl still waits. libcurl 7.88 waits for the whole limit when the
    /// last of several addresses is refused without a socket.
    func hasTriedAll(now: UInt64) -> Bool {
        guard phases.phase == .address, now >= lastAddressMilliseconds else { return false }
        return now - lastAddressMilliseconds >= ConnectProgress.nextAddressMilliseconds
            && sockets.allSatisfy { !$0.isSame }
    }

    mutating func add(_ descriptor: Int32, _ remote: (address: NetworkAddress, port: UInt16), now: UInt64) {
        sockets.append(ConnectingSocket(descriptor, remote, now: now))
    }

    /// Called when the connection is made and the request is about to be sent.
    /// - Returns: whether the connection was used before.
    mutating func connected(_ ends: ConnectionEnds, _ connections: inout UpstreamConnections) -> Bool {
        let isReused = !hasOpenedSocket
        if let socket = sockets.first(where: { $0.isConnected(ends) }) { connections.add(socket, ends) }
        phases.connected()
        sockets = []
        hasOpenedSocket = false
        return isReused
    }

    /// Checks the sockets against the limits; an address that takes too long is given up.
    /// - Returns: the limit that was reached, as text; nil while there is time.
    mutating func check(
        _ limits: ConnectLimits, _ request: TransferRequest, proxyHasAnswered: Bool, now: UInt64
    ) -> String? {
        // A SOCKS proxy is asked for a connection in any case, and an HTTP proxy for one to an HTTPS upstream.
        let isAsked = request.proxy.map { $0.isSOCKS || request.url.scheme == .https } ?? false
        for index in sockets.indices where sockets[index].check(limits, now: now) == .connected {
            phases.socketConnected(toProxy: isAsked, now: now)
        }
        if proxyHasAnswered { phases.proxyAnswered(now: now) }
        let isReached = phases.phase != .lookup && phases.phase != .address
        return phases.exceeded(limits, name: isReached ? request.url.host : request.peerName, now: now)
    }

    /// The address that was given up last, as text; nil when none was.
    func slowAddress(_ limits: ConnectLimits) -> String? {
        guard let socket = sockets.last(where: \.isGivenUp) else { return nil }
        return "connecting to \(socket.address) took longer than \(ConnectPhases.duration(limits.addressMilliseconds))"
    }
}

/// A socket that curl is connecting.
struct ConnectingSocket {
    enum State {
        case connecting
        case connected
        /// Closed, refused, or given up.
        case gone
    }

    private let descriptor: Int32
    private let inode: UInt64
    private let startedMilliseconds: UInt64
    /// For log lines and error messages.
    let address: String
    /// Whether it took longer than the limit for one address.
    private(set) var isGivenUp = false

    init(_ descriptor: Int32, _ remote: (address: NetworkAddress, port: UInt16), now: UInt64) {
        self.descriptor = descriptor
        inode = ConnectingSocket.inode(descriptor) ?? 0
        startedMilliseconds = now
        address = "\(remote.address.text) port \(remote.port)"
    }

    mutating func check(_ limits: ConnectLimits, now: UInt64) -> State {
        guard !isGivenUp, isSame else { return .gone }
        if SocketName.of(peerOf: descriptor) != nil { return .connected }
        guard now >= startedMilliseconds, now - startedMilliseconds >= limits.addressMilliseconds else {
            return .connecting
        }
        isGivenUp = true
        // Linux aborts a connection attempt on shutdown: the socket fails with ECONNRESET, and curl tries the next
        // address.
        shutdown(descriptor, Int32(SHUT_RDWR))
        return .gone
    }

    /// Whether this socket is the connection between these ends.
    func isConnected(_ ends: ConnectionEnds) -> Bool {
        isSame && SocketName.of(descriptor)?.port == ends.localPort && SocketName.of(peerOf: descriptor) != nil
    }

    /// Whether the descriptor still refers to this socket.
    var isSame: Bool { ConnectingSocket.inode(descriptor) == inode }

    /// Whether there is something to read: bytes, or the peer's FIN.
    var hasInput: Bool {
        var byte: UInt8 = 0
        return recv(descriptor, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT)) >= 0
    }

    private static func inode(_ descriptor: Int32) -> UInt64? {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? UInt64(truncatingIfNeeded: status.st_ino) : nil
    }
}

/// The ends of a connection, which identify it in curl's callback before a request.
struct ConnectionEnds: Hashable {
    let address: NetworkAddress
    let port: UInt16
    let localPort: UInt16
}

/// curl's connections, by their ends.
struct UpstreamConnections {
    /// At this many entries, those of closed connections are removed: well above the number of connections that curl
    /// keeps idle (`ConnectionPool.maximumIdleConnections`) and has in use.
    private static let sweepCount = 1024

    private var sockets: [ConnectionEnds: ConnectingSocket] = [:]

    mutating func add(_ socket: ConnectingSocket, _ ends: ConnectionEnds) {
        if sockets.count >= UpstreamConnections.sweepCount { sockets = sockets.filter { $0.value.isSame } }
        sockets[ends] = socket
    }

    /// Whether bytes, or the peer's FIN, wait to be read on a connection.
    func hasInput(_ ends: ConnectionEnds) -> Bool {
        guard let socket = sockets[ends], socket.isSame else { return false }
        return socket.hasInput
    }
}
