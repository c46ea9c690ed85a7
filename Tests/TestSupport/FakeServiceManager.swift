// The end of sd_notify(3) that systemd has: a datagram socket that keeps what services send.

internal import Foundation
internal import Glibc

/// Receives the messages of a service, which gets `address` as NOTIFY_SOCKET.
package final class FakeServiceManager {
    package let address: String
    private let descriptor: Int32
    private let files: TemporaryDirectory
    /// All messages so far.
    package private(set) var messages: [String] = []

    /// - Parameter isAbstract: whether the socket has an abstract name instead of a path.
    package init(isAbstract: Bool = false) throws {
        files = try TemporaryDirectory()
        address = isAbstract ? "@\(files.path)/notify" : files.file("notify")
        let kind = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        descriptor = socket(AF_UNIX, kind, 0)
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        let bytes = isAbstract ? [0] + Array(address.utf8.dropFirst()) : Array(address.utf8) + [0]
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: bytes) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
        let code = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
        }
        guard code == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
    }

    deinit { close(descriptor) }

    /// Takes what has arrived, and returns all messages so far.
    @discardableResult
    package func receive() -> [String] {
        var piece = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &piece, piece.count, 0)
            guard count >= 0 else { return messages }
            messages.append(String(decoding: piece[..<count], as: UTF8.self))
        }
    }

    /// Waits as the manager's watchdog does: whether a message arrives within a time.
    package func hears(withinMilliseconds limit: Int32) -> Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&entry, 1, limit) > 0
    }

    /// Waits for a message that contains `text`, after the first `count` messages, and returns it; nil when none comes.
    package func message(containing text: String, after count: Int = 0) -> String? {
        let limit: Int32 = 60_000
        while true {
            if let found = receive().dropFirst(count).first(where: { $0.contains(text) }) { return found }
            guard hears(withinMilliseconds: limit) else { return nil }
        }
    }
}
