// Readers of a growing blob, and callers that wait for the same thing: so many are called in one iteration of the loop.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct WakingTests {
    private final class Reader: GrowingReader {
        let number: Int
        private let woken: (Int) -> Void
        var place = 0

        init(_ number: Int, _ woken: @escaping (Int) -> Void) {
            self.number = number
            self.woken = woken
        }

        func growingBlobAdvanced() { woken(number) }
    }

    private static func blob(on loop: EventLoop) throws -> GrowingBlob {
        let key = PullKey(
            host: try #require(RegistryHost("a.example")), repository: try #require(RepositoryName("a")),
            digest: digestOf([1]))
        let blob = GrowingBlob(key: key, loop: loop)
        blob.announce(sizeBytes: 1_000_000)
        return blob
    }

    private static let limit = GrowingBlob.maximumWokenPerIteration

    /// Runs the loop for more iterations than any of these needs.
    private func iterate(_ run: LoopRun) {
        var left = 200
        func step() {
            left -= 1
            if left > 0 { run.loop.deferred.enqueue(step) } else { run.finish() }
        }
        run.loop.deferred.enqueue(step)
        run.run()
    }

    @Test("parked readers are woken in order, without those that have left")
    func order() {
        var parked = ParkedReaders()
        let readers = (0..<10).map { Reader($0) { _ in } }
        for reader in readers { reader.place = parked.park(reader) }
        for number in [0, 4, 9] { parked.remove(readers[number], at: readers[number].place) }
        // A place is used again; removing a reader that has left already does nothing.
        let late = Reader(10) { _ in }
        late.place = parked.park(late)
        parked.remove(readers[9], at: readers[9].place)
        parked.remove(readers[0], at: 1000)
        var order: [Int] = []
        while let reader = parked.popFirst(before: parked.nextTicket) as? Reader { order.append(reader.number) }
        #expect(order == [1, 2, 3, 5, 6, 7, 8, 10])
        #expect(parked.count == 0)
        #expect(parked.popFirst(before: .max) == nil)
    }

    @Test("ten thousand readers are woken a bounded number at a time, in order")
    func bounded() throws {
        let run = try LoopRun()
        let blob = try Self.blob(on: run.loop)
        var woken: [Int] = []
        let readers = (0..<10_000).map { Reader($0) { woken.append($0) } }
        for reader in readers { reader.place = blob.park(reader) }
        blob.grew(to: 1000)
        #expect(woken.count == Self.limit)
        // More comes meanwhile: no reader is woken for it in this iteration.
        blob.grew(to: 2000)
        #expect(woken.count == Self.limit)
        // Each further iteration wakes as many.
        var steps: [Int] = []
        func look() {
            steps.append(woken.count)
            if woken.count < 10_000 { run.loop.deferred.enqueue(look) } else { run.finish() }
        }
        run.loop.deferred.enqueue(look)
        run.run()
        #expect(woken == Array(0..<10_000))
        #expect(zip(steps, steps.dropFirst()).allSatisfy { $1 - $0 <= Self.limit })
        run.close()
    }

    @Test("readers that leave before they are woken are not called")
    func leavers() throws {
        let run = try LoopRun()
        let blob = try Self.blob(on: run.loop)
        var woken: Set<Int> = []
        let readers = (0..<1000).map { Reader($0) { woken.insert($0) } }
        for reader in readers { reader.place = blob.park(reader) }
        blob.grew(to: 1000)
        for reader in readers where reader.number % 3 == 0 { blob.unpark(reader, at: reader.place) }
        iterate(run)
        let expected = (0..<1000).filter { $0 < Self.limit || $0 % 3 != 0 }
        #expect(woken == Set(expected))
        run.close()
    }

    @Test("a reader that parks again while others are woken is woken for later bytes")
    func parkingAgain() throws {
        let run = try LoopRun()
        let blob = try Self.blob(on: run.loop)
        var seen: [Int: [Int64]] = [:]
        var readers: [Reader] = []
        readers = (0..<200).map { number in
            Reader(number) { _ in
                seen[number, default: []].append(blob.readableBytes)
                if blob.readableBytes < 2000 { readers[number].place = blob.park(readers[number]) }
            }
        }
        for reader in readers { reader.place = blob.park(reader) }
        blob.grew(to: 1000)
        #expect(seen.count == Self.limit)
        blob.grew(to: 2000)
        iterate(run)
        #expect(seen.count == 200)
        for number in 0..<200 { #expect(seen[number] == (number < Self.limit ? [1000, 2000] : [2000])) }
        run.close()
    }

    @Test("waiting callers are called a bounded number at a time, in order")
    func callers() throws {
        let run = try LoopRun()
        var called: [Int] = []
        run.loop.deferred.forEach(Array(0..<1000)) { number in
            called.append(number)
            if number == 999 { run.finish() }
        }
        #expect(called == Array(0..<DeferredQueue.maximumCallsPerIteration))
        run.run()
        #expect(called == Array(0..<1000))
        run.loop.deferred.forEach([Int]()) { _ in Issue.record("the list is empty") }
        run.close()
    }

    @Test("callers that wait for a blob's announcement are called a bounded number at a time")
    func waitingForTheAnswer() throws {
        let run = try LoopRun()
        let key = PullKey(
            host: try #require(RegistryHost("a.example")), repository: try #require(RepositoryName("a")),
            digest: digestOf([1]))
        let blob = GrowingBlob(key: key, loop: run.loop)
        var answered = 0
        for _ in 0..<1000 { blob.whenAnswered { answered += 1 } }
        blob.announce(sizeBytes: 10)
        #expect(answered == DeferredQueue.maximumCallsPerIteration)
        iterate(run)
        #expect(answered == 1000)
        run.close()
    }

    @Test("a thousand clients of one manifest and one blob are all served")
    func manyClients() throws {
        let mirror = try MirrorKit()
        let image = FakeImage(layerBytes: [300_000], seed: 3)
        image.put(on: mirror.fake, tag: "v1")
        let manifests = (0..<500).map { _ in mirror.start(.get("/v2/team/app/manifests/v1")) }
        let blobs = (0..<500).map { _ in mirror.start(.get("/v2/team/app/blobs/\(digestOf(image.layers[0]))")) }
        mirror.wait(for: manifests + blobs)
        #expect(manifests.allSatisfy { $0.response.body == image.manifest })
        #expect(blobs.allSatisfy { $0.response.body == image.layers[0] })
        #expect(mirror.fake.requests.count == 2)
        mirror.close()
    }
}
