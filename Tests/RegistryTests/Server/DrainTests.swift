// A server that stops: which requests it still answers, and what becomes of a socket that another process holds.

import Foundation
import TestSupport
import Testing

@testable import Registry

@Suite struct DrainTests {
    private let run: LoopRun
    private let server: Server

    init() throws {
        run = try LoopRun()
        server = Server(
            on: run.loop, offload: Offload(on: run.loop), logger: LogRecorder().logger, descriptorLimit: 64
        ) { connection, _, _ in
            connection.respond(status: 200, fields: ResponseFields.plain(contentType: nil, length: 0))
        }
    }

    private func write(_ text: String, _ descriptor: Int32) {
        let bytes = Array(text.utf8)
        #expect(send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
    }

    /// What a client gets until the connection's end, while the loop runs.
    private func readAll(_ descriptor: Int32) -> String {
        var answer = ""
        var hasEnded = false
        run.wait {
            var piece = [UInt8](repeating: 0, count: 4096)
            let count = recv(descriptor, &piece, piece.count, Int32(MSG_DONTWAIT))
            if count > 0 { answer += String(decoding: piece[..<count], as: UTF8.self) }
            hasEnded = count == 0 || (count < 0 && errno != EAGAIN)
            return hasEnded
        }
        close(descriptor)
        return answer
    }

    @Test("a new connection whose request arrives after the stop is answered, whole or in two pieces")
    func requestsOnTheirWay() throws {
        let port = try server.listen(host: "127.0.0.1", port: 0).port
        let (new, half, silent) = (
            PlainSocket.connect(to: port), PlainSocket.connect(to: port), PlainSocket.connect(to: port)
        )
        write("GET / HTT", half)
        run.wait { server.connectionCount == 3 }
        var isDrained = false
        server.drain { isDrained = true }
        write("GET / HTTP/1.1\r\nHost: a\r\n\r\n", new)
        write("P/1.1\r\nHost: a\r\n\r\n", half)
        for client in [new, half] {
            let answer = readAll(client)
            #expect(answer.hasPrefix("HTTP/1.1 200 ") && answer.contains("Connection: close"), "\(answer)")
        }
        // A client that never asks does not keep the server from its end.
        #expect(readAll(silent).isEmpty)
        run.wait { isDrained }
        run.close()
    }

    @Test("a passed socket outlives the server that stops, and the next one answers what waits in it")
    func passedSocket() throws {
        let holder = try PlainSocket.listen(backlog: 8)
        defer { close(holder.descriptor) }
        let passed = try ListeningSocket(descriptor: dup(holder.descriptor))
        try server.listen(on: [passed])
        var isDrained = false
        server.drain { isDrained = true }
        run.wait { isDrained }
        let waiting = PlainSocket.connect(to: holder.port)
        write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", waiting)
        let next = Server(
            on: run.loop, offload: Offload(on: run.loop), logger: LogRecorder().logger, descriptorLimit: 64
        ) { connection, _, _ in
            connection.respond(status: 204, fields: ResponseFields.plain(contentType: nil, length: 0))
        }
        try next.listen(on: [try ListeningSocket(descriptor: dup(holder.descriptor))])
        #expect(readAll(waiting).hasPrefix("HTTP/1.1 204 "))
        next.drain {}
        run.close()
    }
}
