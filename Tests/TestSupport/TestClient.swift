// A small HTTP client on the test's own loop. It records each byte as it arrives and how the connection ended; it can
// read slowly and close at any time.

internal import Foundation
internal import Glibc
package import Registry

/// One connection to the server under test, and its responses.
///
///     let client = TestClient(on: loop, port: port)
///     client.send(.get("/v2/a/blobs/\(digest)", range: "bytes=5-"))
///     client.onDone = { … }
package final class TestClient {
    package struct Request {
        package var method = "GET"
        package var target: String
        package var headers: [(String, String)] = []
        package var version = "1.1"

        package init(method: String = "GET", target: String, headers: [(String, String)] = [], version: String = "1.1")
        {
            self.method = method
            self.target = target
            self.headers = headers
            self.version = version
        }

        package static func get(_ target: String, range: String? = nil, _ headers: [(String, String)] = []) -> Request {
            Request(target: target, headers: headers + (range.map { [("Range", $0)] } ?? []))
        }

        package static func head(_ target: String, _ headers: [(String, String)] = []) -> Request {
            Request(method: "HEAD", target: target, headers: headers)
        }

        fileprivate var wire: [UInt8] {
            let lines = ["\(method) \(target) HTTP/\(version)", "Host: mirror.test"] + headers.map { "\($0): \($1)" }
            return Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8)
        }
    }

    /// How the connection ended, from the client's point of view.
    package enum End: Equatable {
        case fin
        case reset
        /// The client closed it.
        case left
    }

    /// How the client reads.
    package struct ClientBehavior {
        /// The most bytes per read, and the pause after each read.
        package var readBytes = 256 * 1024
        package var pauseMilliseconds: UInt64 = 0
        /// Closes the connection when this many body bytes of one response have arrived.
        package var leavesAfterBodyBytes: Int?
        /// Closes with RST instead of FIN.
        package var leavesByReset = false
        /// `SO_RCVBUF`, so that slow reading fills the server's send buffer.
        package var receiveBufferBytes: Int32?
        /// Keeps the connection open after the last response.
        package var keepsOpen = false

        package init(
            readBytes: Int = 256 * 1024, pauseMilliseconds: UInt64 = 0, leavesAfterBodyBytes: Int? = nil,
            leavesByReset: Bool = false, receiveBufferBytes: Int32? = nil, keepsOpen: Bool = false
        ) {
            self.readBytes = readBytes
            self.pauseMilliseconds = pauseMilliseconds
            self.leavesAfterBodyBytes = leavesAfterBodyBytes
            self.leavesByReset = leavesByReset
            self.receiveBufferBytes = receiveBufferBytes
            self.keepsOpen = keepsOpen
        }
    }

    package let number: Int
    package let manner: ClientBehavior
    package private(set) var requests: [Request] = []
    /// One for each request answered so far; the last may be incomplete.
    package var responses: [Response] { parser.responses }
    package private(set) var end: End?
    /// Called when a head, more of a body, or the end has arrived.
    package var onProgress: () -> Void = {}
    /// Called each time when every request has its complete response, or the connection has ended.
    package var onDone: () -> Void = {}

    private let loop: EventLoop
    private let descriptor: Int32
    private var poll: SocketPoll?
    private var timer: Registry.Timer?
    private var output: [UInt8] = []
    private var parser = ResponseParser()
    private var isOpen = true
    private var isPausing = false
    private var wasDone = true

    /// - Parameter usesSix: connects to `::1` instead of 127.0.0.1.
    package init(
        on loop: EventLoop, port: UInt16, manner: ClientBehavior = ClientBehavior(), number: Int = 0,
        usesSix: Bool = false
    ) {
        self.loop = loop
        self.manner = manner
        self.number = number
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(usesSix ? AF_INET6 : AF_INET, kind, 0)
        self.descriptor = descriptor
        if var size = manner.receiveBufferBytes {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout.size(ofValue: size)))
        }
        let code = usesSix ? Self.connectBySix(descriptor, port) : Self.connectByFour(descriptor, port)
        precondition(code == 0 || errno == EINPROGRESS, "the client cannot connect: \(errno)")
        timer = Registry.Timer(on: loop) { [unowned self] in
            isPausing = false
            watch()
        }
        poll = SocketPoll(on: loop, descriptor: descriptor) { [unowned self] readable, writable, failed in
            if writable || failed { flush() }
            if isOpen, readable || failed { read() }
        }
        watch()
    }

    private static func connectByFour(_ descriptor: Int32, _ port: UInt16) -> Int32 {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        inet_pton(AF_INET, "127.0.0.1", &name.sin_addr)
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, length) }
        }
    }

    private static func connectBySix(_ descriptor: Int32, _ port: UInt16) -> Int32 {
        var name = sockaddr_in6()
        name.sin6_family = sa_family_t(AF_INET6)
        name.sin6_port = port.bigEndian
        inet_pton(AF_INET6, "::1", &name.sin6_addr)
        let length = socklen_t(MemoryLayout<sockaddr_in6>.size)
        return withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, length) }
        }
    }

    /// The only response, or the first.
    package var response: Response { responses.first ?? Response() }
    /// Whether every request so far has a complete response.
    package var isComplete: Bool { responses.count == requests.count && responses.allSatisfy(\.isComplete) }
    package var isDone: Bool { end != nil || isComplete }

    /// Sends a request; several in a row are pipelined.
    package func send(_ request: Request) {
        requests.append(request)
        sendRaw(request.wire)
    }

    /// Sends arbitrary bytes, for which no response is expected.
    package func sendRaw(_ bytes: [UInt8]) {
        wasDone = false
        output += bytes
        watch()
    }

    /// Closes the connection from the client's side.
    package func leave(byReset: Bool = false) {
        guard isOpen else { return }
        if byReset {
            var linger = linger(l_onoff: 1, l_linger: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
        }
        close(.left)
    }

    private func close(_ how: End) {
        guard isOpen else { return }
        isOpen = false
        end = how
        poll?.close()
        timer?.close()
        Glibc.close(descriptor)
        onProgress()
        tellDone()
    }

    private func tellDone() {
        guard isDone, !wasDone else { return }
        wasDone = true
        let then = onDone
        if end == nil, !manner.keepsOpen {
            // A client with all its responses closes the connection; that does not count as an `End`.
            isOpen = false
            poll?.close()
            timer?.close()
            Glibc.close(descriptor)
        }
        then()
    }

    private func watch() {
        guard isOpen else { return }
        poll?.watch(readable: !isPausing, writable: !output.isEmpty)
    }

    private func flush() {
        while isOpen, !output.isEmpty {
            let count = output.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { break }
            output.removeFirst(count)
        }
        watch()
    }

    private func read() {
        var buffer = [UInt8](repeating: 0, count: manner.readBytes)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        if count < 0 { return errno == EAGAIN ? () : close(.reset) }
        if count == 0 { return close(.fin) }
        parser.parse(buffer[..<count], answering: requests)
        guard isOpen else { return }
        if let limit = manner.leavesAfterBodyBytes, responses.contains(where: { $0.body.count >= limit }) {
            return leave(byReset: manner.leavesByReset)
        }
        onProgress()
        tellDone()
        if isOpen, manner.pauseMilliseconds > 0 {
            isPausing = true
            timer?.start(afterMilliseconds: manner.pauseMilliseconds)
            watch()
        }
    }
}
