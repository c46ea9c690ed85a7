// The four kinds of reader that a pull has: whatever happens upstream, each of them must come out of it well.

import TestSupport
import Testing

@testable import Registry

/// A blob, and the four readers that want it at one time.
final class ConcurrentReaders {
    let first: TestClient
    let joiner: TestClient
    let range: TestClient
    private(set) var late: TestClient?
    private let bytes: [UInt8]
    private let rangeStart: Int

    /// Three start at once; the late one when the first has half of it, or all that it will get.
    init(_ mirror: MirrorKit, _ target: String, _ bytes: [UInt8]) {
        self.bytes = bytes
        rangeStart = bytes.count / 3
        first = mirror.start(.get(target))
        joiner = mirror.start(.get(target))
        range = mirror.start(.get(target, range: "bytes=\(bytes.count / 3)-"))
        let startLate = { [self] in
            guard late == nil, first.response.body.count >= bytes.count / 2 || first.isDone else { return }
            late = mirror.start(.get(target))
        }
        first.onProgress = startLate
        first.onDone = startLate
    }

    var everyone: [TestClient] { [first, joiner, range] + (late.map { [$0] } ?? []) }
    var isDone: Bool { late != nil && everyone.allSatisfy(\.isDone) }

    /// What holds whatever the upstream does.
    func expectNobodyIsFooled(_ label: String = "", _ location: SourceLocation = #_sourceLocation) {
        for (reader, name) in zip(everyone, ["first", "joiner", "range", "late"]) {
            ConcurrentReaders.expectHonest(reader, bytes, "\(label) \(name)", location)
        }
    }

    /// Everybody has the right bytes.
    func expectEveryoneIsServed(_ label: String = "", _ location: SourceLocation = #_sourceLocation) {
        expectNobodyIsFooled(label, location)
        for (reader, name) in zip(everyone, ["first", "joiner", "range", "late"]) {
            let isServed = reader.isComplete && (200...206).contains(reader.response.status)
            #expect(isServed, "\(label) \(name): \(ConcurrentReaders.story(reader))", sourceLocation: location)
        }
        #expect(range.response.status == 206 || range.response.isChunked, sourceLocation: location)
    }

    /// Nobody has a complete body: each was cut short by FIN, or told so in an error.
    func expectNobodyIsServed(_ label: String = "", _ location: SourceLocation = #_sourceLocation) {
        expectNobodyIsFooled(label, location)
        for (reader, name) in zip(everyone, ["first", "joiner", "range", "late"]) {
            let isServed = reader.isComplete && reader.response.status < 400
            #expect(!isServed, "\(label) \(name): \(ConcurrentReaders.story(reader))", sourceLocation: location)
        }
    }

    /// A complete body is right; a body begun is a right beginning unless it is short; the end is orderly.
    static func expectHonest(
        _ reader: TestClient, _ bytes: [UInt8], _ label: String, _ location: SourceLocation = #_sourceLocation
    ) {
        for (request, response) in zip(reader.requests, reader.responses)
        where response.isComplete && response.status < 400 && request.method == "GET" && response.status != 304 {
            let isRight = expected(request, response, bytes).map { $0.elementsEqual(response.body) } ?? false
            #expect(isRight, "\(label): a complete wrong body; \(story(reader))", sourceLocation: location)
        }
        if !reader.isComplete, reader.end != .left {
            #expect(reader.end == .fin, "\(label): \(story(reader))", sourceLocation: location)
        }
    }

    /// The bytes that a 200 or 206 should have had.
    static func expected(
        _ request: TestClient.Request, _ response: TestClient.Response, _ bytes: [UInt8]
    ) -> ArraySlice<UInt8>? {
        guard response.status == 206 else { return bytes[...] }
        let words = (response.header("content-range") ?? "").split { " -/".contains($0) }.compactMap { Int($0) }
        guard words.count == 3, words[2] == bytes.count, words[0] <= words[1], words[1] < bytes.count else {
            return nil
        }
        return bytes[words[0]...words[1]]
    }

    static func story(_ reader: TestClient) -> String {
        let answers = reader.responses.map { response in
            "\(response.status) \(response.body.count)/\(response.contentLength.map { "\($0)" } ?? "chunked")"
                + (response.isComplete ? "" : " short") + (response.status >= 400 ? " \(response.text)" : "")
        }
        return "\(answers) end \(reader.end.map { "\($0)" } ?? "none")"
    }
}
