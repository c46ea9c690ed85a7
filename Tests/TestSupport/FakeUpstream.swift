// A scripted upstream on the test's own loop: a test sets the response to each request, faults included, and can read
// the requests afterwards. Everything runs on one thread, so no lock is needed and the order of events is the loop's.

package import Configuration
internal import Foundation
internal import Glibc
internal import OCI
package import Registry

/// A request that the fake upstream received.
package struct FakeRequest {
    package let method: String
    /// Without the query.
    package let path: String
    package let query: String?
    /// Names in lower case.
    package let headers: [(name: String, value: String)]
    /// The number of its connection, from 0, and its number among all requests to the server.
    package let connection: Int
    package let number: Int
    /// As long as `Content-Length` says.
    package let body: [UInt8]

    package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
    package func headers(_ name: String) -> [String] { headers.filter { $0.name == name }.map(\.value) }

    /// The N of `Range: bytes=N-` or `bytes=N-M`.
    package var rangeStart: Int? {
        guard let range = header("range"), range.hasPrefix("bytes=") else { return nil }
        return Int(range.dropFirst(6).prefix { $0 != "-" })
    }

    /// The M of `Range: bytes=N-M`.
    package var rangeLast: Int? {
        guard let range = header("range"), range.hasPrefix("bytes="), let dash = range.firstIndex(of: "-") else {
            return nil
        }
        return Int(range[dash...].dropFirst())
    }

    /// A query parameter, decoded; all values of a repeated one, joined by spaces.
    package func parameter(_ name: String) -> String? {
        var parts = URLComponents()
        parts.percentEncodedQuery = query
        let values = (parts.queryItems ?? []).filter { $0.name == name }.compactMap(\.value)
        return values.isEmpty ? nil : values.joined(separator: " ")
    }
}

/// An HTTP server on loopback with scripted responses.
///
///     let upstream = FakeUpstream(on: run.loop)
///     upstream.on("/v2/a/blobs/\(digest)", .blob(bytes, for: request).cut(after: 1000), …)
///     upstream.answer = { request in … }
package final class FakeUpstream {
    package let loop: EventLoop
    package let address: String
    package let port: UInt16
    /// All requests, in order.
    package private(set) var requests: [FakeRequest] = []
    package private(set) var connectionCount = 0
    /// Connections open now.
    package var openConnectionCount: Int { connections.count }
    /// Connections that the client closed or reset before a response was complete.
    package fileprivate(set) var abandonedCount = 0
    /// Body bytes passed to the kernel.
    package fileprivate(set) var sentBodyBytes = 0
    /// The response to requests without a route; 404 unless set.
    package var answer: (FakeRequest) -> FakeAnswer = { _ in .status(404) }
    /// Called when a request has arrived, before it is answered.
    package var onRequest: (FakeRequest) -> Void = { _ in }
    /// If set, everything is sent in pieces of random sizes, with iterations of the loop between them.
    package var chance: SeededRandom?

    private let descriptor: Int32
    private var poll: SocketPoll?
    private var routes: [String: [(FakeRequest) -> FakeAnswer]] = [:]
    fileprivate var connections: [Int: FakeConnection] = [:]

    /// - Parameter address: an address of 127.0.0.0/8, or `::1`.
    package init(on loop: EventLoop, address: String = "127.0.0.1") {
        self.loop = loop
        self.address = address
        // SOCK_STREAM is 1, SOCK_NONBLOCK is O_NONBLOCK; Swift does not always see the enumeration's members.
        let isSix = address == "::1"
        let descriptor = socket(isSix ? AF_INET6 : AF_INET, 1 | O_NONBLOCK, 0)
        self.descriptor = descriptor
        // struct sockaddr_in: family, port and address, the last two in network order. In sockaddr_in6 the address
        // follows the flow label.
        var name = [UInt8](repeating: 0, count: isSix ? 28 : 16)
        name[0] = UInt8(isSix ? AF_INET6 : AF_INET)
        if isSix {
            name[23] = 1
        } else {
            name.replaceSubrange(4..<8, with: address.split(separator: ".").compactMap { UInt8($0) })
        }
        var length = socklen_t(name.count)
        let isListening = name.withUnsafeMutableBytes { bytes in
            guard let pointer = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return false }
            return bind(descriptor, pointer, length) == 0 && listen(descriptor, 512) == 0
                && getsockname(descriptor, pointer, &length) == 0
        }
        precondition(isListening, "the fake upstream cannot listen")
        port = UInt16(name[2]) << 8 | UInt16(name[3])
        poll = SocketPoll(on: loop, descriptor: descriptor) { [unowned self] _, _, _ in accept() }
        poll?.watch(readable: true, writable: false)
    }

    /// `127.0.0.1:port`, as used for a registry host and in URLs.
    package var authority: String { address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)" }
    package var url: String { "http://\(authority)" }

    /// An entry of `registries` that sends requests for `name` to this server.
    package func config(name: String = "registry.test", auth: RegistryAuth? = nil) -> RegistryConfig {
        var config = RegistryConfig(name: RegistryHost(name)!)
        config.scheme = .http
        config.send(to: url)
        config.auth = auth
        return config
    }

    /// Sets the responses to a path, one after the other; the last one is repeated.
    package func on(_ path: String, _ answers: ((FakeRequest) -> FakeAnswer)...) { routes[path] = answers }
    package func on(_ path: String, inOrder answers: [(FakeRequest) -> FakeAnswer]) { routes[path] = answers }
    package func on(_ path: String, _ answers: [FakeAnswer]) {
        routes[path] = answers.map { answer in { _ in answer } }
    }
    package func on(_ path: String, _ answer: FakeAnswer) { on(path, [answer]) }

    /// Begins the list of requests anew.
    package func forgetRequests() { requests = [] }

    /// The requests for one path.
    package func requests(to path: String) -> [FakeRequest] { requests.filter { $0.path == path } }

    /// Stops listening: new connections are refused, existing ones stay.
    package func stopListening() {
        guard poll != nil else { return }
        poll?.close()
        poll = nil
        Glibc.close(descriptor)
    }

    /// Sends bytes that answer no request, on a connection that waits for a request.
    package func push(_ text: String, onConnection number: Int) { connections[number]?.push(Array(text.utf8)) }

    package func close() {
        stopListening()
        hangUp()
    }

    /// Ends every connection in any state.
    package func hangUp(resetting: Bool = false) {
        for connection in connections.values { connection.end(resetting: resetting) }
    }

    fileprivate func reply(to request: FakeRequest) -> FakeAnswer {
        requests.append(request)
        onRequest(request)
        guard var queue = routes[request.path], let first = queue.first else { return answer(request) }
        if queue.count > 1 {
            queue.removeFirst()
            routes[request.path] = queue
        }
        return first(request)
    }

    private func accept() {
        while true {
            let client = Glibc.accept(descriptor, nil, nil)
            guard client >= 0 else { return }
            _ = fcntl(client, F_SETFL, O_NONBLOCK)
            _ = fcntl(client, F_SETFD, FD_CLOEXEC)
            connections[connectionCount] = FakeConnection(client, number: connectionCount, server: self)
            connectionCount += 1
        }
    }
}

/// One connection: reads requests and answers one at a time.
private final class FakeConnection {
    private let descriptor: Int32
    private let number: Int
    private let server: FakeUpstream
    private var poll: SocketPoll?
    private var timer: Registry.Timer?
    private var input: [UInt8] = []
    private var peerIsDone = false
    private var isOpen = true

    private var current: FakeAnswer?
    private var head: [UInt8] = []
    private var body: [UInt8] = []
    private var sentHead = 0
    private var sentBody = 0

    package init(_ descriptor: Int32, number: Int, server: FakeUpstream) {
        self.descriptor = descriptor
        self.number = number
        self.server = server
        timer = Registry.Timer(on: server.loop) { [unowned self] in pump() }
        poll = SocketPoll(on: server.loop, descriptor: descriptor) { [weak self] readable, writable, failed in
            // Retained here, since reading may end the connection and release its last other reference.
            guard let self else { return }
            if failed { return lost() }
            if readable { read() }
            if writable, isOpen { pump() }
        }
        watch(writable: false)
    }

    package func end(resetting: Bool) {
        guard isOpen else { return }
        isOpen = false
        poll?.close()
        timer?.close()
        if resetting {
            // struct linger: on, with no time, so that close(2) sends a reset.
            let linger: [Int32] = [1, 0]
            setsockopt(descriptor, SOL_SOCKET, SO_LINGER, linger, 8)
        }
        Glibc.close(descriptor)
        server.connections[number] = nil
    }

    package func push(_ bytes: [UInt8]) { _ = send(bytes, from: 0, upTo: bytes.count) }

    private func watch(writable: Bool) { poll?.watch(readable: !peerIsDone, writable: writable) }

    private func lost() {
        if current != nil { server.abandonedCount += 1 }
        end(resetting: false)
    }

    private func read() {
        var buffer = [UInt8](repeating: 0, count: 16 * 1024)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        if count < 0 { return errno == EAGAIN ? () : lost() }
        if count == 0 {
            peerIsDone = true
            return lost()
        }
        input += buffer[..<count]
        next()
    }

    /// Reads the next request, if it is complete and no response is in progress.
    private func next() {
        guard current == nil, isOpen, let end = input.firstRange(of: Array("\r\n\r\n".utf8))?.upperBound else { return }
        let text = String(decoding: input[..<end], as: UTF8.self)
        let lines = text.components(separatedBy: "\r\n").filter { !$0.isEmpty }
        let words = lines[0].components(separatedBy: " ")
        let target = words[1].split(separator: "?", maxSplits: 1).map(String.init)
        let headers = lines.dropFirst().map { line -> (name: String, value: String) in
            let parts = line.split(separator: ":", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
            return (parts[0].lowercased(), parts.count > 1 ? parts[1] : "")
        }
        let length = headers.first { $0.name == "content-length" }.flatMap { Int($0.value) } ?? 0
        guard input.count - end >= length else { return }
        let body = Array(input[end..<(end + length)])
        input.removeFirst(end + length)
        let request = FakeRequest(
            method: words[0], path: target[0], query: target.count > 1 ? target[1] : nil, headers: headers,
            connection: number, number: server.requests.count, body: body)
        begin(server.reply(to: request), isHead: words[0] == "HEAD")
    }

    private func begin(_ answer: FakeAnswer, isHead: Bool) {
        guard isOpen else { return }
        current = answer
        (head, body) = answer.wire(isHead: isHead)
        (sentHead, sentBody) = (0, 0)
        if answer.delayMilliseconds > 0 {
            timer?.start(afterMilliseconds: answer.delayMilliseconds)
        } else {
            pump()
        }
    }

    /// Sends as much as is possible now.
    private func pump() {
        guard isOpen, let answer = current else { return }
        if let fault = answer.fault, fault.afterBytes < 0 { return suffer(fault.fault) }
        while sentHead < head.count {
            guard let count = send(head, from: sentHead, upTo: head.count) else { return }
            sentHead += count
            if server.chance != nil { return again() }
        }
        let limit = min(body.count, answer.fault?.afterBytes ?? body.count)
        while sentBody < limit {
            let stop = min(limit, sentBody + (answer.pace?.bytes ?? limit))
            guard let count = send(body, from: sentBody, upTo: stop) else { return }
            sentBody += count
            server.sentBodyBytes += count
            if let pace = answer.pace, sentBody < limit {
                timer?.start(afterMilliseconds: pace.everyMilliseconds)
                return
            }
            if server.chance != nil { return again() }
        }
        if let fault = answer.fault { return suffer(fault.fault) }
        finish(answer)
    }

    private func again() { timer?.start(afterMilliseconds: 0) }

    private func send(_ bytes: [UInt8], from start: Int, upTo end: Int) -> Int? {
        var end = end
        if let most = server.chance.map({ _ in min(end - start, 20_000) }), most > 0 {
            end = start + Int.random(in: 1...most, using: &server.chance!)
        }
        let count = bytes.withUnsafeBytes {
            Glibc.send(descriptor, $0.baseAddress! + start, end - start, Int32(MSG_NOSIGNAL))
        }
        if count >= 0 {
            watch(writable: false)
            return count
        }
        if errno == EAGAIN { watch(writable: true) } else { lost() }
        return nil
    }

    private func suffer(_ fault: FakeAnswer.Fault) {
        watch(writable: false)
        switch fault {
        case .stall: break
        case .cut: end(resetting: false)
        case .reset: end(resetting: true)
        }
    }

    private func finish(_ answer: FakeAnswer) {
        current = nil
        if answer.endsConnection { return end(resetting: false) }
        watch(writable: false)
        next()
    }
}

extension RegistryConfig {
    /// Sends all requests to this URL.
    package mutating func send(to url: String) {
        endpoints = [EndpointConfig(try! EndpointAddress(parsing: url))]  // a test's own URL
    }
}
