// What clients of bad manners once did to the server, over real sockets.

import Foundation
import Glibc
import Logging
import TestSupport
import Testing

@testable import Registry

@Suite struct ServerAttackTests {
    /// A server on a test's loop, and plain sockets to it.
    final class Kit {
        let run: LoopRun
        let server: Server
        private let port: UInt16

        init(descriptorLimit: Int, handler: @escaping (Offload) -> Server.Handler) throws {
            run = try LoopRun()
            let offload = Offload(on: run.loop)
            let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            server = Server(
                on: run.loop, offload: offload, logger: logger, descriptorLimit: descriptorLimit,
                handler: handler(offload))
            port = try server.listen(host: "127.0.0.1", port: 0).port
        }

        func connect() throws -> Int32 {
            let client = PlainSocket.connect(to: port)
            try #require(client >= 0)
            return client
        }

        /// Turns the loop until it is so; a hang is recorded by name.
        func until(_ what: String, _ condition: () -> Bool) {
            for _ in 0..<6000 where !condition() { run.run(milliseconds: 5) }
            #expect(condition(), "\(what)")
        }

        func close() {
            server.drain {}
            server.closeAll()
            until("every connection closes") { server.connectionCount == 0 }
            run.run(milliseconds: 5)
            run.close()
        }
    }

    /// What has come so far, without waiting.
    static func received(_ client: Int32) -> String {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = recv(client, &buffer, buffer.count, Int32(MSG_DONTWAIT))
        return String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
    }

    @Test("a client that disconnects while the pool reads its file is dropped at once") func earlyHangUp() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/blob"
        try Data(repeating: 7, count: 4 << 20).write(to: URL(filePath: path))
        let descriptor = open(path, O_RDONLY)
        fsync(descriptor)
        // Cold, so that the pool has to read it: from a disk after this, from tmpfs always.
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
        let file = OpenFile(descriptor: descriptor, sizeBytes: 4 << 20, device: 0)
        let gate = DispatchSemaphore(value: 0)
        var isAsked = false
        let kit = try Kit(descriptorLimit: 1024) { offload in
            { connection, _, _ in
                // The pool is busy, so its answer comes when the connection has long gone.
                for _ in 0..<Offload.threadCount { offload.run({ gate.wait() }, then: { _ in }) }
                connection.respond(
                    status: 200, fields: ResponseFields.plain(contentType: nil, length: 4 << 20),
                    content: .file(file, 0..<(4 << 20)), verdict: .hit)
                isAsked = true
            }
        }
        let client = try kit.connect()
        _ = send(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, 0)
        kit.until("the request arrives") { isAsked }
        // With a reset: the server closes at once.
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(client, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<linger>.size))
        close(client)
        kit.until("the connection goes") { kit.server.connectionCount == 0 }
        for _ in 0..<Offload.threadCount { gate.signal() }
        kit.run.run(milliseconds: 100)
        kit.close()
    }

    @Test("connections being refused do not count against the connection limit") func refusedConnections() throws {
        // A cap of four, and one refusal at a time.
        let kit = try Kit(descriptorLimit: 8) { _ in
            { connection, _, _ in
                connection.respond(status: 200, fields: ResponseFields.plain(contentType: nil, length: 0))
            }
        }
        let inside = try (0..<4).map { _ in try kit.connect() }
        kit.until("four are in") { kit.server.connectionCount == 4 }
        let refused = try kit.connect()
        var told = ""
        kit.until("the fifth is told so") {
            told += Self.received(refused)
            return told.hasPrefix("HTTP/1.1 503 ") && told.contains("Connection: close\r\n")
        }
        close(inside[0])
        // The refused one may have gone by itself in the meantime; it is those inside that count.
        kit.until("one leaves") { kit.server.connectionCount - kit.server.refusals == 3 }
        let next = try kit.connect()
        _ = send(next, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, 0)
        var answer = ""
        kit.until("the next one gets in") {
            answer += Self.received(next)
            return !answer.isEmpty
        }
        #expect(answer.hasPrefix("HTTP/1.1 200 "))
        for client in inside.dropFirst() + [refused, next] { close(client) }
        kit.close()
    }
}
