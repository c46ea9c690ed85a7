// One keep-alive connection to the server under test. A request costs two system calls (send, recv) and a share of an
// epoll_wait; docs/load-testing.md says why libcurl is not used.

import Glibc
import Registry

/// Receives the outcome of a request. Either call may start the next request.
protocol AnswerHandler: AnyObject {
    func answered(status: Int, sizeBytes: Int, body: [UInt8])
    /// The connection is closed; the next request opens another.
    func failed(_ reason: String)
}

final class ClientConnection {
    /// Read buffer size in bytes: at most this much is read per iteration and connection.
    static let bufferBytes = 64 * 1024

    private let loop: EventLoop
    private let address: ServerAddress
    /// The read buffer, shared by all connections.
    private let buffer: UnsafeMutableRawBufferPointer
    private weak var handler: (any AnswerHandler)?
    private var descriptor: Int32 = -1
    private var poll: SocketPoll?
    private var isConnected = false
    /// Whether this connection has delivered a response: the server may then close it before the next request.
    private var isKept = false
    private var request: UnsafeRawBufferPointer?
    private var keepsBody = false
    private var reader = AnswerReader(keepsBody: false)
    /// When the outstanding request was made, in milliseconds of the loop's clock; nil without one.
    private(set) var askedMilliseconds: UInt64?

    init(on loop: EventLoop, to address: ServerAddress, buffer: UnsafeMutableRawBufferPointer) {
        self.loop = loop
        self.address = address
        self.buffer = buffer
    }

    /// Sends a request; its bytes must stay valid until the handler is called.
    func ask(_ request: UnsafeRawBufferPointer, keepsBody: Bool, handler: any AnswerHandler) {
        self.handler = handler
        self.request = request
        self.keepsBody = keepsBody
        askedMilliseconds = loop.nowMilliseconds
        reader = AnswerReader(keepsBody: keepsBody)
        if descriptor < 0 { connect() } else if isConnected { transmit() }
    }

    /// Closes the connection and drops an outstanding request without calling the handler.
    func close() {
        request = nil
        askedMilliseconds = nil
        disconnect()
    }

    /// Fails the outstanding request and closes the connection.
    func fail(_ reason: String) {
        guard request != nil else { return disconnect() }
        close()
        handler?.failed(reason)
    }

    private func disconnect() {
        poll?.close()
        poll = nil
        if descriptor >= 0 { Glibc.close(descriptor) }
        descriptor = -1
        isConnected = false
        isKept = false
    }

    private func connect() {
        descriptor = address.connect()
        guard descriptor >= 0 else { return failSoon(String(cString: strerror(errno))) }
        poll = SocketPoll(on: loop, descriptor: descriptor) { [unowned self] readable, writable, failed in
            if !isConnected { connected() } else if readable || failed { receive() }
        }
        guard let poll else { return failSoon("a socket that cannot be watched") }
        poll.watch(readable: false, writable: true)
    }

    /// Fails in the next drain: the caller of `ask` does not expect a callback inside the call.
    private func failSoon(_ reason: String) {
        loop.deferred.enqueue { [self] in fail(reason) }
    }

    private func connected() {
        var code: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length)
        guard code == 0 else { return fail("cannot connect: \(String(cString: strerror(code)))") }
        isConnected = true
        poll?.watch(readable: true, writable: false)
        transmit()
    }

    /// Sends the whole request in one call: it is far smaller than the empty send buffer.
    private func transmit() {
        guard let request else { return }
        let sent = send(descriptor, request.baseAddress, request.count, Int32(MSG_NOSIGNAL))
        guard sent == request.count else {
            return loop.deferred.enqueue { [self] in broke("the request could not be sent") }
        }
    }

    private func receive() {
        let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
        guard count > 0 else {
            if count < 0, errno == EAGAIN || errno == EINTR { return }
            return broke(count == 0 ? "the connection was closed" : String(cString: strerror(errno)))
        }
        guard request != nil else { return fail("bytes that nobody asked for") }
        switch reader.read(UnsafeRawBufferPointer(rebasing: buffer[..<count])) {
        case .needsMore: break
        case .broken(let reason): fail(reason)
        case .complete(let status, let sizeBytes):
            isKept = true
            request = nil
            askedMilliseconds = nil
            handler?.answered(status: status, sizeBytes: sizeBytes, body: reader.body)
        }
    }

    /// Handles a closed connection. A kept connection that delivered no byte may have closed before the server saw the
    /// request, so the request is retried.
    private func broke(_ reason: String) {
        guard request != nil, isKept, reader.isFresh else { return fail(reason) }
        disconnect()
        connect()
    }
}
