// Outgoing proxies: the real tinyproxy, and a SOCKS5 proxy for tests, since Debian's need a system user.

internal import Foundation
internal import Glibc

/// tinyproxy on a free loopback port, with one user; it is stopped when the value is released.
package final class ForwardProxy {
    /// `127.0.0.1:port`
    package let address: String
    private let process: ChildProcess
    private let files: TemporaryDirectory

    package init(user: String, password: String) throws {
        files = try TemporaryDirectory()
        let port = LoopbackPort.free()
        address = "127.0.0.1:\(port)"
        let configuration = try files.write(
            "Port \(port)\nListen 127.0.0.1\nTimeout 60\nLogLevel Info\nBasicAuth \(user) \(password)\n",
            to: "tinyproxy.conf")
        process = try ChildProcess(["tinyproxy", "-d", "-c", configuration])
        _ = try process.line(containing: "Accepting connections", in: process.output)
    }

    /// The request lines that it has read so far. It logs a line before it answers, but the line comes through a pipe.
    /// - Parameter count: how many are waited for.
    package func requests(atLeast count: Int) -> [String] {
        _ = process.output.wait(untilText: { ForwardProxy.requests(in: $0).count >= count })
        return ForwardProxy.requests(in: process.output.text)
    }

    private static func requests(in text: String) -> [String] {
        text.split(separator: "\n").compactMap { line in
            guard line.hasPrefix("CONNECT "), let mark = line.firstRange(of: "): "), line.contains("Request (") else {
                return nil
            }
            return String(line[mark.upperBound...])
        }
    }
}

/// A SOCKS5 proxy (RFC 1928) with one user (RFC 1929) that connects every request to the same port of this machine.
package final class SocksProxy {
    package let port: UInt16
    private let listener: Int32

    package init(user: String, password: String, to target: Int) throws {
        (listener, port) = try PlainSocket.listen(backlog: 64)
        let listener = listener
        let login =
            [1, UInt8(user.utf8.count)] + Array(user.utf8) + [UInt8(password.utf8.count)] + Array(password.utf8)
        Thread.detachNewThread {
            while true {
                let client = accept(listener, nil, nil)
                guard client >= 0 else { break }
                Thread.detachNewThread {
                    if Self.greet(client, login) {
                        DelayedRelay.relay(client, to: UInt16(target))
                    } else {
                        close(client)
                    }
                }
            }
            close(listener)
        }
    }

    /// This makes `accept` return; its thread then closes the descriptor.
    deinit { shutdown(listener, Int32(SHUT_RDWR)) }

    /// Method, login, and the request for a connection, whose destination is ignored.
    private static func greet(_ client: Int32, _ login: [UInt8]) -> Bool {
        guard let greeting = read(client, 2), read(client, Int(greeting[1])) != nil, write(client, [5, 2]),
            let given = read(client, login.count)
        else { return false }
        guard given == login else {
            _ = write(client, [1, 1])
            return false
        }
        guard write(client, [1, 0]), let request = read(client, 5) else { return false }
        // An IPv4 address, a name with its length, or an IPv6 address; then the port.
        let rest = request[3] == 1 ? 3 : request[3] == 3 ? Int(request[4]) : 15
        return read(client, rest + 2) != nil && write(client, [5, 0, 0, 1, 127, 0, 0, 1, 0, 0])
    }

    private static func read(_ descriptor: Int32, _ count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        guard count == 0 || recv(descriptor, &bytes, count, Int32(MSG_WAITALL)) == count else { return nil }
        return bytes
    }

    private static func write(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
        send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count
    }
}
