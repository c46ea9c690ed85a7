// The server on a Unix socket: who may open it, where it may lie, and that it speaks as on any other.

import Foundation
import TestSupport
import Testing

@testable import Registry

@Suite struct UnixSocketTests {
    /// A server on a socket that answers with the request's target, for as long as `body` runs.
    private func serve(
        _ path: String, _ run: LoopRun, answer: @escaping (Connection, RequestHead, UnsafeRawBufferPointer) -> Void
    ) throws -> Server {
        let server = Server(
            on: run.loop, offload: Offload(on: run.loop), logger: LogRecorder().logger, descriptorLimit: 64,
            handler: answer)
        try server.listen(unixSocket: path)
        run.atClose {
            server.drain {}
            server.closeAll()
        }
        return server
    }

    private func mode(_ path: String) throws -> mode_t {
        var status = stat()
        guard lstat(path, &status) == 0 else { throw POSIXError(.ENOENT) }
        return status.st_mode
    }

    /// What a client on another thread gets for a request, while the loop runs here.
    private func ask(_ path: String, _ request: String, _ run: LoopRun) throws -> String {
        let descriptor = try UnixAddress(path).socket(.connect)
        var answer = ""
        let poll = SocketPoll(on: run.loop, descriptor: descriptor) { _, _, _ in
            var piece = [UInt8](repeating: 0, count: 65536)
            let count = recv(descriptor, &piece, piece.count, 0)
            if count > 0 { answer += String(decoding: piece[..<count], as: UTF8.self) } else { run.finish() }
        }
        _ = request.utf8.withContiguousStorageIfAvailable { write(descriptor, $0.baseAddress, $0.count) }
        poll?.watch(readable: true, writable: false)
        run.run()
        poll?.close()
        close(descriptor)
        return answer
    }

    /// 107 bytes are what the kernel takes; deeper caches exist.
    @Test(
        "the admin socket answers at paths longer than sockaddr_un, and is removed at the end",
        arguments: [0, 60, 300])
    func longPaths(_ extraBytes: Int) throws {
        let directory = try TemporaryDirectory()
        let folder = stride(from: 0, to: extraBytes, by: 100).map { _ in String(repeating: "d", count: 90) }
        let path = try directory.directory((["x"] + folder).joined(separator: "/")) + "/ADMIN"
        let run = try LoopRun()
        var peer = ""
        let server = try serve(path, run) { connection, head, bytes in
            peer = connection.peerName
            let target = Array(head.target.in(bytes))
            connection.respond(
                status: 200, fields: ResponseFields.plain(contentType: nil, length: target.count), body: target)
        }
        #expect(try mode(path) == S_IFSOCK | 0o600)
        let answer = try ask(path, "GET /here HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", run)
        #expect(answer.hasPrefix("HTTP/1.1 200 ") && answer.hasSuffix("\r\n\r\n/here"), "\(answer)")
        #expect(peer == "unix:uid=\(getuid())")
        server.drain {}
        #expect(throws: (any Error).self, "its name goes with it") { _ = try mode(path) }
        run.close()
    }

    /// A process that was killed leaves its socket behind.
    @Test("a socket left by a killed process is replaced") func leftoverSocket() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("ADMIN")
        close(try UnixAddress(path).socket(.bind))
        #expect(throws: LoopError.self) { close(try UnixAddress(path).socket(.connect)) }
        let run = try LoopRun()
        _ = try serve(path, run) { connection, _, _ in
            connection.respond(status: 200, fields: ResponseFields.plain(contentType: nil, length: 0))
        }
        let answer = try ask(path, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", run)
        #expect(answer.hasPrefix("HTTP/1.1 200 "))
        run.close()
    }

    /// Whatever the umask: bits that it leaves are taken away before anybody can connect.
    @Test("the socket's mode is 0600 whatever the umask") func modeIgnoresUmask() throws {
        let directory = try TemporaryDirectory()
        let run = try LoopRun()
        let path = directory.file("ADMIN")
        let server = try serve(path, run) { connection, _, _ in connection.close() }
        #expect(try mode(path) & 0o777 == 0o600)
        server.drain {}
        run.close()
    }

    /// A body that the socket does not take at once, which is what a list of a large cache is.
    @Test("a large response is sent whole over the socket") func largeResponse() throws {
        let directory = try TemporaryDirectory()
        let run = try LoopRun()
        let text = Array(String(repeating: "0123456789", count: 500_000).utf8)
        _ = try serve(directory.file("ADMIN"), run) { connection, _, _ in
            connection.respond(
                status: 200, fields: ResponseFields.plain(contentType: nil, length: text.count), body: text)
        }
        let answer = try ask(
            directory.file("ADMIN"), "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", run)
        #expect(answer.utf8.count > text.count && answer.hasSuffix("0123456789"))
        run.close()
    }

    @Test("a socket path that cannot be created is an error") func invalidPaths() throws {
        let directory = try TemporaryDirectory()
        let run = try LoopRun()
        let name = String(repeating: "n", count: 120)
        for path in ["\(directory.path)/none/ADMIN", "\(directory.path)/\(name)", "\(directory.path)/"] {
            #expect(throws: LoopError.self, "\(path)") {
                _ = try UnixListener(on: run.loop, path: path) { _ in }
            }
        }
        run.close()
    }
}
