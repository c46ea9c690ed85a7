// HTTP/1.1 answers as far as a load test needs them: a status and a body whose length is stated. Bytes in, values out;
// anything else is an answer that no registry should give here, and is said to be one. Pure.

import Glibc

/// Reads one answer, in whatever pieces it comes.
struct AnswerReader {
    enum Progress: Equatable {
        case needsMore
        /// The whole answer was read.
        case complete(status: Int, sizeBytes: Int)
        /// Not an answer that can be read; why.
        case broken(String)
    }

    /// More than any registry's head.
    static let maximumHeadBytes = 16 * 1024

    /// The body, where it is kept.
    private(set) var body: [UInt8] = []
    private let keepsBody: Bool
    /// A head that has not come whole yet.
    private var head: [UInt8] = []
    private var status = 0
    private var sizeBytes = 0
    private var bodyBytes = 0
    private var isInBody = false

    init(keepsBody: Bool) { self.keepsBody = keepsBody }

    /// Whether nothing has come yet.
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

    /// How long the head is, and the one field that matters; nil when its end has not come yet.
    private static func scan(_ bytes: UnsafeRawBufferPointer) -> (headBytes: Int, contentLength: Int?)? {
        guard let start = bytes.baseAddress else { return nil }
        var contentLength: Int?
        var position = 0
        while let found = memchr(start + position, 0x0A, bytes.count - position) {
            position = start.distance(to: UnsafeRawPointer(found)) + 1
            guard position + 1 < bytes.count else { return nil }
            if bytes[position] == 0x0D, bytes[position + 1] == 0x0A { return (position + 2, contentLength) }
            // Most lines differ in their first letter.
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
