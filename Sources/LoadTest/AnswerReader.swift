// An HTTP/1.1 response parser for the load test: a status and a body of stated length. It reports any other response
// as broken. Pure.

import Glibc

/// Reads one response from pieces of any size.
struct AnswerReader {
    enum Progress: Equatable {
        case needsMore
        /// The whole response was read.
        case complete(status: Int, sizeBytes: Int)
        /// The response cannot be read, with the reason.
        case broken(String)
    }

    /// Larger than the head of any registry's response.
    static let maximumHeadBytes = 16 * 1024

    /// The body; empty unless `keepsBody` is set.
    private(set) var body: [UInt8] = []
    private let keepsBody: Bool
    /// The head received so far, while it is incomplete.
    private var head: [UInt8] = []
    private var status = 0
    private var sizeBytes = 0
    private var bodyBytes = 0
    private var isInBody = false

    init(keepsBody: Bool) { self.keepsBody = keepsBody }

    /// Whether no byte has arrived yet.
    var isFresh: Bool { !isInBody && head.isEmpty }

    mutating func read(_ bytes: UnsafeRawBufferPointer) -> Progress {
        if isInBody { return readBody(bytes) }
        guard head.isEmpty else {
            head += bytes
            let whole = head
            head = []
            return whole.withUnsafeBytes { readHead($0) }
        }
        return readHead(bytes)
    }

    private mutating func readHead(_ bytes: UnsafeRawBufferPointer) -> Progress {
        guard let found = Self.scan(bytes) else {
            guard bytes.count <= Self.maximumHeadBytes else { return .broken("a head without an end") }
            head = Array(bytes)
            return .needsMore
        }
        guard let status = Self.status(bytes) else { return .broken("not HTTP/1.1") }
        guard let sizeBytes = found.contentLength else { return .broken("an answer that does not state its length") }
        self.status = status
        self.sizeBytes = sizeBytes
        isInBody = true
        return readBody(UnsafeRawBufferPointer(rebasing: bytes[found.headBytes...]))
    }

    private mutating func readBody(_ bytes: UnsafeRawBufferPointer) -> Progress {
        bodyBytes += bytes.count
        guard bodyBytes <= sizeBytes else { return .broken("more bytes than the head states") }
        if keepsBody { body += bytes }
        return bodyBytes == sizeBytes ? .complete(status: status, sizeBytes: sizeBytes) : .needsMore
    }

    private static func status(_ head: UnsafeRawBufferPointer) -> Int? {
        guard head.count > 12, head.starts(with: version) else { return nil }
        return number(head[9..<12])
    }

    private static let version = Array("HTTP/1.1 ".utf8)
    private static let name: StaticString = "content-length:"

    /// The size of the head and its `Content-Length`; nil while the head is incomplete.
    private static func scan(_ bytes: UnsafeRawBufferPointer) -> (headBytes: Int, contentLength: Int?)? {
        guard let start = bytes.baseAddress else { return nil }
        var contentLength: Int?
        var position = 0
        while let found = memchr(start + position, 0x0A, bytes.count - position) {
            position = start.distance(to: UnsafeRawPointer(found)) + 1
            guard position + 1 < bytes.count else { return nil }
            if bytes[position] == 0x0D, bytes[position + 1] == 0x0A { return (position + 2, contentLength) }
            // Most lines differ in their first letter, so it is compared first.
            guard bytes[position] | 0x20 == 0x63, position + name.utf8CodeUnitCount < bytes.count,
                (0..<name.utf8CodeUnitCount).allSatisfy({ bytes[position + $0] | 0x20 == name.utf8Start[$0] | 0x20 })
            else { continue }
            let value = bytes[(position + name.utf8CodeUnitCount)...].drop { $0 == 0x20 }
            contentLength = number(value.prefix { $0 != 0x0D && $0 != 0x20 })
        }
        return nil
    }

    private static func number(_ digits: Slice<UnsafeRawBufferPointer>) -> Int? {
        guard !digits.isEmpty, digits.count < 16 else { return nil }
        var value = 0
        for digit in digits {
            guard (0x30...0x39).contains(digit) else { return nil }
            value = value * 10 + Int(digit - 0x30)
        }
        return value
    }
}
