// What the load test's driver is made of: reading answers, the order of pulls, the ramp, the catalog, the sums.

import TestSupport
import Testing

@testable import LoadTest

@Suite struct LoadPartsTests {
    private static func read(_ text: String, piece: Int, keepsBody: Bool = true) -> (AnswerReader.Progress, [UInt8]) {
        var reader = AnswerReader(keepsBody: keepsBody)
        var progress = AnswerReader.Progress.needsMore
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            progress = rest.prefix(piece).withUnsafeBytes { reader.read($0) }
            if case .broken = progress { break }
            rest = rest.dropFirst(piece)
        }
        return (progress, reader.body)
    }

    private static let sizes = [1, 2, 3, 7, 1000]

    @Test("the load test's client reads a response split into pieces of any size", arguments: sizes)
    func pieces(_ piece: Int) {
        let text =
            "HTTP/1.1 200 OK\r\nX-Content-Length: 9\r\nCONTENT-length:  5 \r\nConnection: keep-alive\r\n\r\nab\r\nc"
        let (progress, body) = Self.read(text, piece: piece)
        #expect(progress == .complete(status: 200, sizeBytes: 5))
        #expect(body == Array("ab\r\nc".utf8))
        let empty = Self.read("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", piece: piece)
        #expect(empty.0 == .complete(status: 404, sizeBytes: 0))
        #expect(Self.read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", piece: piece).0 == .needsMore)
        #expect(Self.read(text, piece: piece, keepsBody: false).1.isEmpty)
    }

    @Test(
        "the load test's client rejects a malformed response with the reason",
        arguments: [
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", "not HTTP/1.1"),
            ("HTTP/1.1 2x0 OK\r\nContent-Length: 1\r\n\r\n", "not HTTP/1.1"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "an answer that does not state its length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", "an answer that does not state its length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", "more bytes than the head states"),
        ])
    func brokenResponses(_ text: String, _ reason: String) {
        #expect(Self.read(text, piece: 1000).0 == .broken(reason))
    }

    @Test("the load test's client gives up a response head that does not end") func endlessHead() {
        let endless = "HTTP/1.1 200 OK\r\n" + String(repeating: "X: y\r\n", count: 4000)
        #expect(Self.read(endless, piece: 1000).0 == .broken("a head without an end"))
    }

    @Test("the ramp doubles up to the maximum and comes back down") func ramp() {
        #expect(Ramp.steps(most: 1) == [1])
        #expect(Ramp.steps(most: 4) == [1, 2, 4, 2, 1])
        #expect(Ramp.steps(most: 6) == [1, 2, 4, 6, 4, 2, 1])
    }

    @Test("without pruning, pullers take the images in turn") func rotation() {
        var rotation = Rotation(batchOf: [0, 0, 1], prunes: false)
        #expect((0..<4).map { _ in rotation.take() } == [.image(0), .image(1), .image(2), .image(0)])
        #expect(rotation.ended(0) == nil)
        var once = Rotation(batchOf: [0, 0, 1], prunes: false, endsAfterOne: true)
        #expect((0..<4).map { _ in once.take() } == [.image(0), .image(1), .image(2), .end])
    }

    @Test("a batch is pruned after its last pull, and pulled again only after that") func pruning() {
        var rotation = Rotation(batchOf: [0, 0, 1], prunes: true)
        #expect((0..<4).map { _ in rotation.take() } == [.image(0), .image(1), .image(2), .wait])
        #expect(rotation.ended(1) == nil)
        #expect(rotation.ended(2) == 1)
        #expect(rotation.take() == .wait)
        #expect(rotation.ended(0) == 0)
        #expect(rotation.take() == .wait)
        rotation.pruned(0)
        #expect((0..<3).map { _ in rotation.take() } == [.image(0), .image(1), .wait])
        rotation.pruned(1)
        #expect(rotation.take() == .image(2))
        #expect(rotation.ended(0) == nil && rotation.ended(1) == 0 && rotation.ended(2) == 1)
    }

    private static let digest = "sha256:" + String(repeating: "0a", count: 32)

    @Test("a catalog becomes prepared requests with sizes and batches") func preparedRequests() throws {
        let catalog = try Catalog(
            "# made\na /v2/x/manifests/1 5 \(Self.digest) /v2/x/blobs/b 6 \(Self.digest)\n"
                + "b /v2/y/manifests/1 7 \(Self.digest)\n",
            host: "h:1")
        #expect(catalog.images.map(\.batch) == [0, 1] && catalog.batches == ["a", "b"])
        #expect(catalog.images.map(\.steps) == [0..<2, 2..<3] && catalog.steps.map(\.sizeBytes) == [5, 6, 7])
        let request = String(decoding: catalog.request(2), as: UTF8.self)
        #expect(request.hasPrefix("GET /v2/y/manifests/1 HTTP/1.1\r\nHost: h:1\r\nUser-Agent: containerd/"))
        #expect(request.contains("\r\nAccept: application/vnd.docker.distribution.manifest.v2+json, "))
        #expect(request.contains("index.v1+json, */*\r\n") && request.hasSuffix("\r\n\r\n"))
        #expect(!request.dropLast(4).contains("\r\n\r\n") && catalog.path(1) == "/v2/x/blobs/b")
    }

    @Test(
        "a mistake in a catalog is reported with its line",
        arguments: ["a", "a b", "a b c d", "a /p -1 \(digest)", "a /p 1 sha256:00"])
    func catalogMistakes(_ line: String) {
        #expect { try Catalog("# first\n\(line)\n", host: "h") } throws: { ($0 as? Catalog.Mistake)?.line == 2 }
    }

    @Test("percentiles are exact over all pulls of a tally") func percentiles() {
        var tally = Tally()
        for milliseconds in (1...1000).reversed() { tally.add(pull: UInt64(milliseconds) * 1_000_000, isHashed: false) }
        #expect(tally.milliseconds(perMille: 500) == 501 && tally.milliseconds(perMille: 990) == 991)
        var empty = Tally()
        #expect(empty.milliseconds(perMille: 500) == nil)
        empty.add(tally)
        #expect(empty.images == 1000 && empty.milliseconds(perMille: 999) == 1000)
    }

    @Test("numbers are written with a fixed number of decimals, or empty") func decimals() {
        #expect(Text.decimal(1.005, 1) == "1.0" && Text.decimal(0.05, 3) == "0.050" && Text.decimal(12.6, 0) == "13")
        #expect(Text.decimal(-1.25, 1) == "-1.3" && Text.decimal(nil, 1) == "" && Text.decimal(.infinity, 1) == "")
    }

    @Test(
        "a server address that is not an http URL is refused",
        arguments: ["https://h", "h:1", "http://127.0.0.1:none", "http://[::1"])
    func invalidAddresses(_ url: String) {
        #expect(throws: ServerAddress.Mistake.self) { try ServerAddress(url) }
    }

    @Test("a server address keeps its host and port") func addresses() throws {
        #expect(try ServerAddress("http://127.0.0.1:5000/").authority == "127.0.0.1:5000")
        #expect(try ServerAddress("http://[::1]:5000").authority == "[::1]:5000")
    }
}
