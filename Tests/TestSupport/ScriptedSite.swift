// A web server with scripted responses, for browsers. A browser is another process and uses any number of connections,
// so each connection has a thread.

internal import Foundation
internal import Glibc
internal import Synchronization

/// Answers on a free loopback port until the value is released.
package final class ScriptedSite {
    package struct Answer: Sendable {
        package var status = 200
        package var fields: [(String, String)] = []
        /// Sent one after the other; large pieces of several responses may share memory.
        package var pieces: [[UInt8]] = []

        package init(status: Int = 200, fields: [(String, String)] = [], body: [UInt8] = []) {
            self.init(status: status, fields: fields, pieces: [body])
        }

        package init(status: Int = 200, fields: [(String, String)] = [], pieces: [[UInt8]]) {
            self.status = status
            self.fields = fields
            self.pieces = pieces
        }
    }

    /// `127.0.0.1:port`
    package let address: String
    private let listener: Int32

    /// - Parameter answers: for each path, with or without a query, its responses in order; the last one is repeated.
    ///   Other paths get a 404.
    package convenience init(_ answers: [String: [Answer]]) throws {
        let script = Script(answers)
        let targets = Set(answers.keys)
        try self.init(answering: { script.next(targets.contains($0) ? $0 : String($0.prefix { $0 != "?" })) })
    }

    /// - Parameter answer: returns the response to a path. Called on any thread.
    package init(answering answer: @escaping @Sendable (String) -> Answer) throws {
        let (descriptor, port) = try PlainSocket.listen(backlog: 512)
        listener = descriptor
        address = "127.0.0.1:\(port)"
        Thread.detachNewThread {
            while true {
                let client = accept(descriptor, nil, nil)
                guard client >= 0 else { break }
                Thread.detachNewThread { Self.serve(client, answer) }
            }
            close(descriptor)
        }
    }

    /// This makes `accept` return; the thread then closes the descriptor.
    deinit { shutdown(listener, Int32(SHUT_RDWR)) }

    /// Serves one request, then closes the connection.
    private static func serve(_ client: Int32, _ answering: (String) -> Answer) {
        defer { close(client) }
        var request: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 * 1024)
        while request.firstRange(of: Array("\r\n\r\n".utf8)) == nil {
            let count = recv(client, &chunk, chunk.count, 0)
            guard count > 0 else { return }
            request += chunk[..<count]
        }
        let words = request.prefix { $0 != 0x0D }.split(separator: 0x20)
        let answer = answering(words.count > 1 ? String(decoding: words[1], as: UTF8.self) : "")
        let length = answer.pieces.reduce(0) { $0 + $1.count }
        let fields = answer.fields + [("Content-Length", "\(length)"), ("Connection", "close")]
        let lines = ["HTTP/1.1 \(answer.status) Scripted"] + fields.map { "\($0.0): \($0.1)" }
        for piece in [Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8)] + answer.pieces {
            var sent = 0
            while sent < piece.count {
                let count = piece[sent...].withUnsafeBytes {
                    send(client, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                }
                guard count > 0 else { return }
                sent += count
            }
        }
    }

    /// Selects the next response.
    private final class Script: Sendable {
        private let answers: [String: [Answer]]
        private let given = Mutex<[String: Int]>([:])

        package init(_ answers: [String: [Answer]]) { self.answers = answers }

        package func next(_ path: String) -> Answer {
            guard let list = answers[path], !list.isEmpty else { return Answer(status: 404) }
            let number = given.withLock { given in
                defer { given[path, default: 0] += 1 }
                return given[path, default: 0]
            }
            return list[min(number, list.count - 1)]
        }
    }
}
