// A blocking client of the admin socket: one request, one response. It supports only the HTTP that this program's own
// server sends. AdminStreamClient.swift reads streamed responses.

import Glibc
import OCI
import Registry

enum AdminClient {
    /// Largest response accepted, in bytes: enough for a list of millions of images.
    private static let maximumBytes = 2 << 30
    private static let pieceBytes = 256 * 1024

    /// Sends a command to the server that uses a cache; nil when no server runs.
    /// - Throws: `Failure` when the server refuses the command or cannot be reached.
    static func ask(_ command: AdminCommand, asJSON: Bool, socket path: String) throws -> [UInt8]? {
        guard let descriptor = try open(path, asking: command, asJSON: asJSON) else { return nil }
        defer { close(descriptor) }
        return try body(of: try receive(descriptor))
    }

    /// A connection on which the request has been sent; nil when no server runs.
    static func open(_ path: String, asking command: AdminCommand, asJSON: Bool) throws -> Int32? {
        guard let descriptor = try connect(path) else { return nil }
        let request = command.request
        let lines = [
            "\(request.method) \(request.target) HTTP/1.1", "Host: localhost", "Connection: close",
            "Accept: \(asJSON ? "application/json" : "text/plain")",
        ]
        do {
            try send(Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8), descriptor)
        } catch {
            close(descriptor)
            throw error
        }
        return descriptor
    }

    private static func connect(_ path: String) throws -> Int32? {
        do throws(LoopError) {
            return try UnixAddress(path).socket(.connect)
        } catch {
            // No server runs, or an ended server left its socket behind. EACCES, on another user's socket, can mean
            // either; the store's lock shows whether a server runs.
            if [ENOENT, ENOTDIR, ECONNREFUSED, EACCES].contains(-error.code) { return nil }
            throw Failure(description: "\(path): \(error)")
        }
    }

    private static func send(_ bytes: [UInt8], _ descriptor: Int32) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw broken }
            sent += count
        }
    }

    private static func receive(_ descriptor: Int32) throws -> [UInt8] {
        var answer: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: pieceBytes)
        while true {
            let count = read(descriptor, &piece, piece.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0, answer.count + count <= maximumBytes else { throw broken }
            if count == 0 { return answer }
            answer += piece[..<count]
        }
    }

    /// The body of a complete response with status 200.
    static func body(of answer: [UInt8]) throws -> [UInt8] {
        let end = Array("\r\n\r\n".utf8)
        guard let split = answer.indices.first(where: { answer[$0...].starts(with: end) }) else { throw broken }
        let head = String(decoding: answer[..<split], as: UTF8.self).split(separator: "\r\n")
        let body = Array(answer[(split + end.count)...])
        let length = head.first { String($0).asciiLowercased.hasPrefix("content-length:") }
        guard let status = head.first?.split(separator: " ").dropFirst().first,
            let digits = length?.drop(while: { $0 != ":" }).dropFirst().drop(while: { $0 == " " }),
            OutsideNumber.decimal(digits, in: 0...maximumBytes) == body.count
        else { throw broken }
        guard status == "200" else {
            let text = String(decoding: body, as: UTF8.self)
            throw Failure(description: String(text.last == "\n" ? text.dropLast() : text[...]))
        }
        return body
    }

    static var broken: Failure { Failure(description: "connection closed by the server") }
}
