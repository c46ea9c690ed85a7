// A name server on the test's own loop. Its answers may change from one question to the next.

internal import Foundation
internal import Glibc
package import Registry

/// Answers questions for IPv4 addresses on UDP port 53 of `PrivateNetwork.nameServer`, in a `PrivateNetwork`.
package final class FakeNameServer {
    /// The IPv4 addresses of a name, none if it has no address, nil if there is no such name. Called for each question
    /// of type A with the name in lower case.
    package var answer: (String) -> [String]? = { _ in nil }
    /// The names asked for, in order; questions of type A only.
    package private(set) var names: [String] = []

    /// The longest message over UDP (RFC 1035 §2.3.4).
    private static let maximumBytes = 512
    private static let headerBytes = 12
    private static let port: UInt16 = 53
    private let descriptor: Int32
    private var poll: SocketPoll?

    package init(on loop: EventLoop) throws {
        // SOCK_DGRAM is 2, SOCK_NONBLOCK is O_NONBLOCK.
        descriptor = socket(AF_INET, 2 | O_NONBLOCK, 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = Self.port.bigEndian
        inet_pton(AF_INET, PrivateNetwork.nameServer, &address.sin_addr)
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) == 0 }
        }
        guard isBound else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        poll = SocketPoll(on: loop, descriptor: descriptor) { [unowned self] _, _, _ in serve() }
        poll?.watch(readable: true, writable: false)
    }

    package func close() {
        poll?.close()
        poll = nil
        Glibc.close(descriptor)
    }

    private func serve() {
        while true {
            var question = [UInt8](repeating: 0, count: Self.maximumBytes)
            var peer = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let count = withUnsafeMutablePointer(to: &peer) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    recvfrom(descriptor, &question, question.count, 0, $0, &length)
                }
            }
            guard count >= 0 else { return }
            guard let reply = reply(to: question[..<count]) else { continue }
            _ = withUnsafePointer(to: &peer) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    sendto(descriptor, reply, reply.count, 0, $0, length)
                }
            }
        }
    }

    /// The reply to one question (RFC 1035 §4); nil when it cannot be read.
    private func reply(to question: ArraySlice<UInt8>) -> [UInt8]? {
        var labels: [String] = []
        var position = Self.headerBytes
        while position < question.count, question[position] > 0 {
            let end = position + 1 + Int(question[position])
            guard end < question.count else { return nil }
            labels.append(String(decoding: question[(position + 1)..<end], as: UTF8.self))
            position = end
        }
        // The root label, type and class.
        let end = position + 5
        guard end <= question.count else { return nil }
        let isForFour = question[position + 1] == 0 && question[position + 2] == 1
        let name = labels.joined(separator: ".").lowercased()
        if isForFour { names.append(name) }
        let addresses = answer(name)
        let records = (isForFour ? addresses ?? [] : []).flatMap { address -> [UInt8] in
            let four = address.split(separator: ".").compactMap { UInt8($0) }
            // A pointer to the name, type A, class IN, no time to live, and four bytes.
            return [0xC0, UInt8(Self.headerBytes), 0, 1, 0, 1, 0, 0, 0, 0, 0, 4] + four
        }
        let flags: [UInt8] = [0x81, addresses == nil ? 0x83 : 0x80]
        let count = isForFour ? UInt8(addresses?.count ?? 0) : 0
        return Array(question[..<2]) + flags + [0, 1, 0, count, 0, 0, 0, 0]
            + Array(question[Self.headerBytes..<end]) + records
    }
}
