// Blobs for which the cache has no room: clients get them all the same, and nothing is kept.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct NoRoomTests {
    static let bytes = pattern(3_000_000, seed: 51)
    static let digest = digestOf(bytes)
    static let target = "/v2/team/app/blobs/\(digest)"

    private func full(_ change: (inout MirrorKit.Options) -> Void = { _ in }) throws -> MirrorKit {
        let mirror = try MirrorKit {
            $0.limits.budget.maxBytes = 1_000_000
            change(&$0)
        }
        mirror.wait(until: { mirror.store.isRecovered })
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        return mirror
    }

    private func expectNothingKept(_ mirror: MirrorKit) {
        mirror.wait(until: { mirror.puller.passing.windowCount == 0 })
        mirror.settle()
        #expect(mirror.inspectBlobs() == ([], 0))
        #expect(mirror.store.usedBytes == 0 && mirror.store.reservedBytes == 0)
        #expect(mirror.puller.passing.pulls.isEmpty && mirror.puller.passing.newest.isEmpty)
    }

    @Test("a blob larger than the cache passes through each time it is requested") func passes() throws {
        let mirror = try full()
        for number in 1...3 {
            let response = mirror.get(Self.target)
            #expect(response.status == 200 && response.isComplete && response.body == Self.bytes)
            #expect(response.header("x-ociregistry-cache") == "bypass")
            #expect(response.header("docker-content-digest") == "\(Self.digest)")
            #expect(mirror.metrics.pulls.passed == number)
        }
        // The first request found that there is no room.
        #expect(mirror.fake.requests.count == 4)
        #expect(mirror.log.text.contains("a blob passes through without being kept"))
        expectNothingKept(mirror)
        mirror.close()
    }

    @Test("a wrong body that passes through is never complete") func wrongBody() throws {
        let mirror = try full()
        mirror.fake.on(Self.target) { _ in .ok(Self.bytes).corrupted(at: 5) }
        for _ in 0..<2 {
            let client = mirror.ask(.get(Self.target))
            #expect(!client.response.isComplete && client.end == .fin)
            #expect(client.response.body.count == Self.bytes.count - 1)
        }
        expectNothingKept(mirror)
        mirror.close()
    }

    @Test("clients that come together share a transfer, and slow ones get the same bytes") func sharing() throws {
        let mirror = try full()
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0).dripping(200_000, everyMilliseconds: 2) }
        let slow = TestClient.ClientBehavior(
            readBytes: 50_000, pauseMilliseconds: 1, receiveBufferBytes: 8192)
        let clients = (0..<8).map { mirror.start(.get(Self.target), manner: $0 % 2 == 0 ? slow : .init()) }
        mirror.wait(for: clients)
        #expect(clients.allSatisfy { $0.isComplete && $0.response.body == Self.bytes })
        #expect(mirror.fake.requests.count == 2)
        expectNothingKept(mirror)
        mirror.close()
    }

    @Test("a client that comes late gets a transfer of its own") func late() throws {
        let mirror = try full()
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0).stall(after: 1_000_000) }
        let first = mirror.start(.get(Self.target))
        mirror.wait(until: { first.response.body.count == 1_000_000 })
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        let late = mirror.get(Self.target)
        #expect(late.isComplete && late.body == Self.bytes)
        #expect(!first.isDone)
        mirror.fake.hangUp()
        mirror.wait(for: [first])
        #expect(first.isComplete && first.response.body == Self.bytes, "resumed")
        #expect(mirror.fake.requests.last?.rangeStart == 1_000_000)
        expectNothingKept(mirror)
        mirror.close()
    }

    @Test("a closed range is requested as it is, and an open-ended one is taken from the whole") func ranges() throws {
        let mirror = try full()
        #expect(mirror.get(Self.target).body == Self.bytes)
        for (range, expected) in [
            ("bytes=1000-1999", 1000..<2000), ("bytes=-500", 2_999_500..<3_000_000), ("bytes=0-0", 0..<1),
        ] {
            let response = mirror.get(Self.target, range: range)
            #expect(response.status == 206 && response.isComplete && response.body == Array(Self.bytes[expected]))
            #expect(
                response.header("content-range") == "bytes \(expected.lowerBound)-\(expected.upperBound - 1)/3000000")
            #expect(response.header("x-ociregistry-cache") == "bypass")
            #expect(mirror.fake.requests.last?.rangeLast == expected.upperBound - 1)
        }
        let rest = mirror.get(Self.target, range: "bytes=2000000-")
        #expect(rest.status == 206 && rest.isComplete && rest.body == Array(Self.bytes[2_000_000...]))
        #expect(mirror.fake.requests.last?.rangeStart == nil)
        let set = mirror.get(Self.target, range: "bytes=5-6,1-2")
        #expect(set.status == 200 && set.body == Self.bytes)
        expectNothingKept(mirror)
        mirror.close()
    }

    @Test("the first request may be for a range, and the upstream may have none") func rangesRefused() throws {
        let mirror = try full()
        mirror.fake.on(Self.target) { _ in .ok(Self.bytes) }
        for range in ["bytes=1000-1999", "bytes=-700", "bytes=2999000-"] {
            let response = mirror.get(Self.target, range: range)
            #expect(response.status == 206 && response.isComplete, "\(range): \(response.status)")
            #expect(response.header("content-length") == "\(response.body.count)")
            #expect(
                Self.bytes[Int(response.header("content-range")!.dropFirst(6).prefix { $0 != "-" })!...]
                    .starts(with: response.body))
        }
        mirror.wait(until: { mirror.puller.passing.windowCount == 0 })
        expectNothingKept(mirror)
        mirror.close()
    }

    @Test("a body of unknown size that finds no room ends short, and passes the next time") func chunked() throws {
        let mirror = try full()
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0).chunked() }
        #expect(!mirror.ask(.get(Self.target)).response.isComplete)
        mirror.settle()
        let second = mirror.get(Self.target)
        #expect(second.isChunked && second.isComplete && second.body == Self.bytes)
        #expect(second.header("x-ociregistry-cache") == "bypass")
        expectNothingKept(mirror)
        mirror.close()
    }

    @Test("an HTTP/1.0 client gets a 503 for a body of unknown size without room") func http10() throws {
        let mirror = try full()
        mirror.fake.on(Self.target) { _ in .ok(Self.bytes).chunked() }
        #expect(!mirror.ask(.get(Self.target)).response.isComplete)
        mirror.settle()
        for range in [nil, "bytes=5-10"] {
            var request = TestClient.Request.get(Self.target, range: range)
            request.version = "1.0"
            #expect(mirror.ask(request).response.status == 503)
        }
        let count = mirror.fake.requests.count
        mirror.settle()
        #expect(mirror.fake.requests.count == count)
        mirror.close()
    }

    @Test("a range that is the whole is verified like the whole") func wholeRange() throws {
        let mirror = try full()
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0).corrupted(at: 0) }
        for range in ["bytes=0-2999999", "bytes=0-2999999", "bytes=-3000000", "bytes=0-,"] {
            #expect(!mirror.ask(.get(Self.target, range: range)).response.isComplete)
        }
        mirror.close()
    }

    @Test("a blob that no client waits for does not pass through") func prefetch() throws {
        let mirror = try full()
        let source = PullSource(host: MirrorKit.host, repository: RepositoryName("team/app")!, via: "test")
        var error: RegistryError?
        mirror.wait(for: { done in
            _ = mirror.puller.fetchBlob(Self.digest, from: source) {
                error = $0
                done()
            }
        })
        #expect(error?.status == 503 && mirror.metrics.pulls.passed == 0)
        mirror.close()
    }

    @Test("beyond the limit of transfers, requests are refused") func limit() throws {
        let mirror = try full()
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0).stall(after: 1_000_000) }
        var clients: [TestClient] = []
        for number in 0..<Puller.maximumPassing {
            clients.append(mirror.start(.get(Self.target)))
            mirror.wait(until: { clients[number].response.body.count == 1_000_000 })
        }
        #expect(mirror.get(Self.target).status == 503)
        mirror.fake.on(Self.target) { .blob(Self.bytes, for: $0) }
        mirror.fake.hangUp()
        mirror.wait(for: clients)
        #expect(clients.allSatisfy { $0.isComplete })
        #expect(mirror.get(Self.target).status == 200)
        expectNothingKept(mirror)
        mirror.close()
    }
}

@Suite struct PassingWindowTests {
    private final class Reader {}

    private func window(_ fixture: StoreFixture) -> PassingWindow {
        PassingWindow(digest: digestOf([]), loop: fixture.loop, offload: fixture.offload)
    }

    private func append(_ count: Int, to window: PassingWindow) -> Bool {
        pattern(count, seed: 1).withUnsafeBytes { window.append($0) }
    }

    @Test("a window takes no more than its limit ahead of the slowest reader") func limit() throws {
        let fixture = try StoreFixture()
        let window = window(fixture)
        let (slow, fast) = (Reader(), Reader())
        #expect(window.attach(slow, at: 0) && window.attach(fast, at: 0))
        var drained = 0
        window.onDrained = { drained += 1 }
        let half = Int(PassingWindow.limitBytes / 2)
        #expect(append(half, to: window))
        window.advance(fast, to: Int64(half))
        #expect(!append(half, to: window))
        window.advance(fast, to: Int64(2 * half))
        #expect(drained == 0 && window.firstByte == 0)
        window.advance(slow, to: 10)
        try fixture.wait(until: { drained == 1 })
        #expect(window.firstByte == 10)
        #expect(!window.attach(Reader(), at: 0), "the beginning has gone")
        window.detach(slow)
        #expect(window.firstByte == Int64(2 * half))
        window.discard()
        window.detach(fast)
    }

    @Test("a reader far ahead keeps nothing in the window, and lets the upstream send") func farAhead() throws {
        let fixture = try StoreFixture()
        let window = window(fixture)
        let reader = Reader()
        #expect(window.attach(reader, at: 100_000_000))
        var isPaused = false
        window.onDrained = { isPaused = false }
        for _ in 0..<40 {
            isPaused = !append(1_000_000, to: window)
            try fixture.wait(until: { !isPaused })
            #expect(window.firstByte == window.writtenBytes)
        }
        #expect(window.bytes(from: 0, upTo: 1) == nil)
        window.discard()
        window.detach(reader)
    }

    @Test("small pieces are kept and hashed together") func smallPieces() throws {
        let bytes = pattern(100_000, seed: 3)
        let fixture = try StoreFixture()
        let window = PassingWindow(digest: digestOf(bytes), loop: fixture.loop, offload: fixture.offload)
        let reader = Reader()
        #expect(window.attach(reader, at: 0))
        for byte in bytes { #expect(withUnsafeBytes(of: byte) { window.append($0) }) }
        #expect(window.bytes(from: 0, upTo: 100_000)?.count == PassingWindow.pieceBytes)
        let matches = try fixture.wait { window.verify(then: $0) }
        #expect(try matches.get())
        window.discard()
        window.detach(reader)
    }

    @Test("thousands of readers find the slowest one") func manyReaders() throws {
        let fixture = try StoreFixture()
        let window = window(fixture)
        let readers = (0..<3000).map { _ in Reader() }
        for reader in readers { #expect(window.attach(reader, at: 0)) }
        #expect(append(1000, to: window))
        for step in 1...10 {
            for (number, reader) in readers.enumerated() {
                #expect(window.firstByte == Int64(step - 1) * 100 || number == 0)
                window.advance(reader, to: Int64(step) * 100)
            }
            #expect(window.firstByte == Int64(step) * 100)
        }
        for reader in readers { window.detach(reader) }
        window.discard()
    }

    @Test("the beginning stays until there is a reader") func beginning() throws {
        let fixture = try StoreFixture()
        let window = window(fixture)
        #expect(append(1000, to: window))
        let reader = Reader()
        #expect(window.attach(reader, at: 0))
        #expect(window.bytes(from: 10, upTo: 20).map(Array.init) == Array(pattern(1000, seed: 1)[10..<20]))
        var isReleased = false
        window.onReleased = { isReleased = true }
        window.discard()
        #expect(window.bytes(from: 0, upTo: 1000)?.count == 1000)
        window.detach(reader)
        try fixture.wait(until: { isReleased })
    }
}
