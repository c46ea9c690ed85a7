// The health listener tells the truth: a stuck pool, a full disk and a server that ends are seen, and asking costs
// nothing that could make it worse.

import Foundation
import Glibc
import Logging
import Synchronization
import Testing

@testable import Registry

@Suite struct HealthTests {
    /// A mirror with a health listener beside it, wired as App/Running.swift does.
    final class Kit {
        let mirror: MirrorKit
        let health: HealthEndpoint
        private let server: Server
        private let port: UInt16

        init(imagePath: String? = nil, writes: Bool = true, deadlineMilliseconds: UInt64 = 30_000) throws {
            mirror = try MirrorKit { $0.imagePath = imagePath }
            let loop = mirror.run.loop
            let health = HealthEndpoint(
                on: loop, store: mirror.store, offload: mirror.offload, writes: writes,
                deadlineMilliseconds: deadlineMilliseconds)
            self.health = health
            server = Server(
                on: loop, offload: mirror.offload, logger: HealthEndpoint.logger(mirror.log.logger),
                descriptorLimit: HealthEndpoint.descriptorLimit
            ) { health.handle($0, $1, $2) }
            port = try server.listen(host: "127.0.0.1", port: 0).port
        }

        func start(_ target: String, method: String = "GET") -> TestClient {
            let client = TestClient(on: mirror.run.loop, port: port)
            client.send(TestClient.Request(method: method, target: target))
            return client
        }

        func ask(_ target: String, method: String = "GET") -> TestClient.Response {
            let client = start(target, method: method)
            mirror.wait(for: [client])
            return client.response
        }

        func close() {
            var isDrained = false
            server.drain { isDrained = true }
            server.closeAll()
            mirror.wait(until: { isDrained })
            mirror.close()
        }
    }

    @Test func aServerThatIsWellSaysSo() throws {
        let kit = try Kit()
        let health = kit.ask("/health")
        #expect(health.status == 200 && health.body.isEmpty && health.header("content-length") == "0")
        #expect(health.header("content-type") == nil)
        let live = kit.ask("/livez")
        #expect(live.status == 200 && live.text == "ok\n")
        let ready = kit.ask("/readyz")
        #expect(ready.status == 200 && ready.text.hasPrefix("ok\n"))
        #expect(ready.header("content-type")?.hasPrefix("text/plain") == true)
        #expect(ready.header("cache-control") == "no-store")
        for path in ["/health", "/livez", "/readyz"] {
            let head = kit.ask(path, method: "HEAD")
            #expect(head.status == 200 && head.body.isEmpty, "\(path)")
            let post = kit.ask(path, method: "POST")
            #expect(post.status == 405 && post.header("allow") == "GET, HEAD", "\(path)")
        }
        for path in ["/", "/v2/", "/healthz", "/readyz/", "/health/x"] {
            #expect(kit.ask(path).status == 404, "\(path)")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: kit.mirror.store.layout.temporary).isEmpty)
        kit.close()
    }

    @Test func verboseTellsEachCheck() throws {
        let kit = try Kit()
        kit.mirror.wait(until: { kit.mirror.store.isRecovered })
        let ready = kit.ask("/readyz?verbose").text
        for line in ["ok\n", "[+] running\n", "[+] pool: answered in ", "[+] store: ", "recovery: done\n"] {
            #expect(ready.contains(line), "\(line)")
        }
        let live = kit.ask("/livez?verbose=1").text
        for line in ["ok\n", "up for 0 s\n", "pool: ", "recovery: done\n"] { #expect(live.contains(line), "\(line)") }
        kit.close()
    }

    @Test func recoveryIsToldAndNotWaitedFor() {
        var readiness = Readiness(isRecovered: false)
        readiness.disk = .answered(.success(DiskReport(freeBytes: 1)), milliseconds: 0)
        #expect(readiness.isReady && readiness.text(verbose: false) == "ok\nrecovery: running\n")
        readiness.isStopping = true
        #expect(!readiness.isReady && readiness.text(verbose: false) == "stopping\n")
        readiness.disk = .late
        #expect(readiness.text(verbose: false) == "stopping\npool: no answer within 2000 ms\n")
    }

    // MARK: The pool

    @Test func aStuckPoolIsNotReadyAndGetsNoMoreToDo() throws {
        let kit = try Kit(deadlineMilliseconds: 20)
        kit.mirror.wait(until: { kit.mirror.store.isRecovered })
        kit.mirror.settle()
        let jam = PoolJam(kit.mirror.offload)
        kit.mirror.wait(until: { jam.isTight })
        let jobs = kit.mirror.offload.inFlight
        let clients = (0..<20).map { _ in kit.start("/readyz") }
        kit.mirror.wait(for: clients)
        for client in clients {
            #expect(client.response.status == 503)
            #expect(client.response.text == "pool: no answer within 20 ms\n")
        }
        // Answered from what is known.
        #expect(kit.ask("/readyz").status == 503)
        #expect(kit.mirror.offload.inFlight == jobs + 1, "one round trip for all of them")
        #expect(kit.ask("/livez").status == 200 && kit.ask("/health").status == 200)
        jam.release()
        kit.mirror.settle()
        kit.close()
    }

    @Test func whoAsksMeanwhileSharesTheAnswer() throws {
        let run = try LoopRun()
        var answers: [(Int) -> Void] = []
        let probe = PoolProbe<Int>(on: run.loop, deadlineMilliseconds: 1) { answers.append($0) }
        var late = 0
        var given: [Int] = []
        let note: (PoolProbe<Int>.Outcome) -> Void = { outcome in
            switch outcome {
            case .late: late += 1
            case .answered(let answer, _): given.append(answer)
            }
        }
        probe.ask(then: note)
        probe.ask(then: note)
        #expect(answers.count == 1)
        answers[0](1)
        #expect(given == [1, 1] && late == 0)
        probe.ask(then: note)
        let poll = Registry.Timer(on: run.loop) { if late > 0 { run.finish() } }
        poll.start(afterMilliseconds: 1, everyMilliseconds: 1)
        run.run()
        poll.close()
        probe.ask(then: note)
        #expect(late == 2 && answers.count == 2, "what is late is not asked again")
        answers[1](2)
        #expect(given == [1, 1], "nobody waits for it any more")
        probe.ask(then: note)
        answers[2](3)
        #expect(given == [1, 1, 3])
        run.close()
    }

    // MARK: The disk

    @Test(.needs(.root)) func aFullDiskShowsEvenWhereALittleFits() throws {
        let disk = try SmallDisk(sizeBytes: 8 << 20)
        let kit = try Kit(imagePath: disk.path)
        #expect(kit.ask("/readyz").status == 200)
        // All but 100 kB is taken; a blob comes that would need more.
        let filler = disk.path + "/filler"
        let descriptor = try Disk.open(filler, O_RDWR | O_CREAT)
        let free = try Disk.freeSpace(descriptor, filler)
        try Disk.write([UInt8](repeating: 1, count: Int(free) - 100_000), to: descriptor, filler)
        #expect(kit.ask("/readyz").status == 200, "nobody has missed the room")
        let bytes = pattern(1_000_000)
        let target = "/v2/team/app/blobs/\(digestOf(bytes))"
        kit.mirror.fake.on(target) { .blob(bytes, for: $0) }
        // Asked before the room is: the head may be out when the pull fails, the whole never is.
        let refused = kit.mirror.get(target)
        #expect(refused.status == 503 || !refused.isComplete)
        kit.mirror.settle()
        let full = kit.ask("/readyz")
        #expect(full.status == 503 && full.text.hasPrefix("store: no room: "))
        #expect(kit.ask("/livez").status == 200)
        // Room again.
        close(descriptor)
        unlink(filler)
        #expect(kit.ask("/readyz").status == 200)
        #expect(kit.mirror.get(target).status == 200)
        kit.mirror.settle()
        kit.close()
    }

    @Test(.needs(.root)) func aDiskThatTakesNothingShowsUnlessNothingIsToBeWritten() throws {
        let disk = try SmallDisk(sizeBytes: 1 << 20)
        let kit = try Kit(imagePath: disk.path)
        let filler = disk.path + "/filler"
        let descriptor = try Disk.open(filler, O_RDWR | O_CREAT)
        var written: Int64 = 0
        let page = pattern(4096)
        while (try? page.withUnsafeBytes { try Disk.write($0, to: descriptor, at: written, filler) }) != nil {
            written += 4096
        }
        let full = kit.ask("/readyz")
        #expect(full.status == 503 && full.text.hasPrefix("store: no room: "))
        close(descriptor)
        kit.close()
        let reader = try Kit(imagePath: disk.path, writes: false)
        #expect(reader.ask("/readyz").status == 200)
        reader.close()
    }

    /// What an upstream claims says nothing of the disk: there is room, so the server is ready.
    @Test func aBlobLargerThanAnyDiskLeavesTheServerReady() throws {
        let fixture = try StoreFixture()
        let ingest = try fixture.begin(try fixture.key(digestOf([1])))
        let error: StoreError? = try fixture.wait { ingest.reserve(totalBytes: Int64.max / 2, then: $0) }
        #expect(error?.isNoSpace == true && fixture.store.roomWantedBytes > 0)
        let look: Result<DiskReport, StoreError> = try fixture.wait { fixture.store.lookAtDisk(writes: true, then: $0) }
        let report = try look.get()
        #expect(report.wantedBytes <= Store.maximumWantedBytes)
        if !report.isFull { #expect(fixture.store.roomWantedBytes == 0) }
        ingest.discard()
    }

    @Test func aRefusalIsForgottenWhenAsMuchIsWritten() throws {
        let fixture = try StoreFixture()
        let refusal = StoreError.noSpace(call: "write", path: "x")
        fixture.store.noteFailure(refusal, bytes: 500_000)
        fixture.store.noteFailure(refusal, bytes: 100)
        fixture.store.noteRoom(for: 10)
        fixture.store.noteFailure(.system(call: "write", path: "x", code: EIO), bytes: 900_000)
        #expect(fixture.store.roomWantedBytes == 500_000)
        fixture.store.noteRoom(for: 500_000)
        #expect(fixture.store.roomWantedBytes == 0)
    }

    @Test func aStoreThatIsNotThereShows() throws {
        let kit = try Kit()
        try FileManager.default.removeItem(atPath: kit.mirror.store.layout.temporary)
        let ready = kit.ask("/readyz")
        #expect(ready.status == 503 && ready.text.hasPrefix("store: ") && ready.text.contains("/temporary"))
        try FileManager.default.createDirectory(
            atPath: kit.mirror.store.layout.temporary, withIntermediateDirectories: false)
        #expect(kit.ask("/readyz").status == 200)
        kit.close()
    }

    // MARK: The end

    @Test func aServerThatEndsIsAliveAndNotReady() throws {
        let kit = try Kit()
        kit.health.isStopping = true
        let ready = kit.ask("/readyz")
        #expect(ready.status == 503 && ready.text == "stopping\n")
        #expect(kit.ask("/livez").status == 200 && kit.ask("/health").status == 200)
        #expect(kit.ask("/livez?verbose").text.hasSuffix("stopping\n"))
        kit.close()
    }

    @Test func probesAreNotLoggedUnlessEverythingIs() {
        var logger = LogRecorder().logger
        logger.logLevel = .info
        #expect(HealthEndpoint.logger(logger).logLevel == .notice)
        logger.logLevel = .debug
        #expect(HealthEndpoint.logger(logger).logLevel == .debug)
        logger.logLevel = .error
        #expect(HealthEndpoint.logger(logger).logLevel == .error)
    }
}

/// Holds every thread of the pool until it is let go.
private final class PoolJam: Sendable {
    private let held = Atomic(0)
    private let gate = DispatchSemaphore(value: 0)
    private let count: Int

    init(_ offload: Offload) {
        // libuv's default where nobody has said otherwise, as in a test run.
        count = getenv("UV_THREADPOOL_SIZE").flatMap { Int(String(cString: $0)) } ?? 4
        for _ in 0..<count {
            offload.run { [self] in
                held.add(1, ordering: .sequentiallyConsistent)
                gate.wait()
            } then: { _ in }
        }
    }

    var isTight: Bool { held.load(ordering: .sequentiallyConsistent) == count }
    func release() { for _ in 0..<count { gate.signal() } }
}
