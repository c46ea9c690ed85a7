// A hundred thousand requests, each a good one damaged at random: nothing may crash, point outside its bytes, or mean
// something else when it arrives in pieces.

import TestSupport
import Testing

@testable import Registry

@Suite struct RequestFuzzTests {
    static let mutants = 100_000

    static let requests: [[UInt8]] = [
        "GET /v2/a/manifests/b?ns=docker.io HTTP/1.1\r\nHost: h:80\r\nAccept: a/b, */*\r\nRange: bytes=0-9\r\n\r\n",
        "POST /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\nhello world!",
        "PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "\r\nHEAD http://h/p?q HTTP/1.0\r\nConnection: keep-alive, x\r\nVia: 1.1 a\r\nX-Registry: r\r\n\r\n",
        "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\nIf-None-Match: W/\"a\"\r\nIf-Range: b\r\n\r\n",
    ].map { Array($0.utf8) }

    static let pieces: [[UInt8]] =
        [
            "\r\n", "\n", "\r", " ", "\t", ":", "\u{0}", ",", "?", "#", "%", "\r\n ", "HTTP/1.1", "HTTP/2.0", "http://",
            "Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n", "Host: x\r\n", "18446744073709551616", "\u{7F}",
            "Connection: close\r\n", "Range: bytes=1-\r\n", "X-Registry: y\r\n", "\r\n\r\n",
        ].map { Array($0.utf8) } + [[0xFF], [0x80], Array(repeating: 0x61, count: 300)]

    static func mutant(_ random: inout SeededRandom) -> [UInt8] {
        var bytes = requests[Int.random(in: 0..<requests.count, using: &random)]
        for _ in 0..<Int.random(in: 1...3, using: &random) where !bytes.isEmpty {
            let place = Int.random(in: 0..<bytes.count, using: &random)
            let end = min(bytes.count, place + Int.random(in: 1...8, using: &random))
            switch UInt8.random(in: 0..<6, using: &random) {
            case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
            case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 2: bytes.removeSubrange(place..<end)
            case 3: bytes.insert(contentsOf: bytes[place..<end], at: place)
            case 4: bytes.removeSubrange(place...)
            default: bytes.insert(contentsOf: pieces[Int.random(in: 0..<pieces.count, using: &random)], at: place)
            }
        }
        return bytes
    }

    static func slicesAreSound(_ head: RequestHead, count: Int) -> Bool {
        let optional = [head.range, head.ifRange, head.ifNoneMatch, head.registryHeader].compactMap { $0 }
        let slices = [head.methodName, head.target, head.path, head.query, head.host, head.fields] + optional
        return head.length <= count && slices.allSatisfy { $0.start <= $0.end && Int($0.end) <= head.length }
    }

    /// Whether one damaged request is treated soundly; everything but the verdict is plain code, for speed.
    static func isSound(_ bytes: [UInt8], _ random: inout SeededRandom, thorough: Bool) -> Bool {
        let outcome = Feeding.parse(bytes)
        if case .head(let head) = outcome, !slicesAreSound(head, count: bytes.count) { return false }
        let prefix = Feeding.parse(bytes, first: Int.random(in: 0...bytes.count, using: &random))
        guard prefix == .incomplete || prefix == outcome else { return false }
        let events = Feeding.whole(bytes)
        guard Feeding.split(bytes, at: Int.random(in: 0...bytes.count, using: &random)) == events else { return false }
        return !thorough || Feeding.byteByByte(bytes) == events
    }

    @Test("damaged requests are parsed or refused consistently, however they are split") func damagedRequests() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        var statuses: [Int: Int] = [:]
        for number in 0..<Self.mutants {
            let bytes = Self.mutant(&random)
            statuses[Feeding.status(Feeding.parse(bytes)), default: 0] += 1
            guard Self.isSound(bytes, &random, thorough: number % 50 == 0) else {
                let text = String(decoding: bytes, as: UTF8.self).debugDescription
                Issue.record("seed \(seed), request \(number): \(text)")
                return
            }
        }
        // The damage has to reach all of the parser's answers, or it shows nothing.
        #expect(Set(statuses.keys).isSuperset(of: [0, 200, 400, 505]), "seed \(seed): \(statuses)")
    }
}
