// The health listener tells the truth: a stuck pool, a full disk and a server that ends are seen, and asking costs
// nothing that could make it worse.

import Foundation
import Glibc
import Logging
import Synchronization
import TestSupport
import Testing

@testable import Registry

@Suite struct HealthTests {
    /// A mirror with a health listener beside it, wired as App/Running.swift does.
    final class Kit {
        let mirror: MirrorKit
        let health: HealthEndpoint
        private let server: Server
        private let port: UInt16

        init(imagePath: String? = nil, pulls: Bool = true, deadlineMilliseconds: UInt64 = 30_000) throws {
            mirror = try MirrorKit { $0.imagePath = imagePath }
            let loop = mirror.run.loop
            let health = HealthEndpoint(
                store: mirror.store, offload: mirror.offload,
                probes: ReadinessProbes(
                    on: loop, store: mirror.store, pulls: pulls, deadlineMilliseconds: deadlineMilliseconds))
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

    @Test("a healthy server answers /health, /livez and /readyz, and nothing else there") func healthy() throws {
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
        let pull = kit.ask("/readyz?pull")
        #expect(pull.status == 200 && pull.text.hasPrefix("ok\n"))
        for path in ["/health", "/livez", "/readyz", "/readyz?pull"] {
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

    @Test("?verbose lists each check") func verbose() throws {
        let kit = try Kit()
        kit.mirror.wait(until: { kit.mirror.store.isRecovered })
        for target in ["/readyz?verbose", "/readyz?verbose&pull", "/readyz?pull&verbose=1"] {
            let ready = kit.ask(target).text
            for line in [
                "ok\n", "[+] running\n", "[+] pool: answered in ", "[+] store: readable\n", "[+] pull: ",
                " bytes free\n", "recovery: done\n",
            ] { #expect(ready.contains(line), "\(target): \(line)") }
        }
        let live = kit.ask("/livez?verbose=1").text
        for line in ["ok\n", "up for 0 s\n", "pool: ", "recovery: done\n"] { #expect(live.contains(line), "\(line)") }
        kit.close()
    }

    @Test("a running recovery is reported by /readyz and does not make it fail") func recovery() {
        var readiness = Readiness(isRecovered: false)
        readiness.reading = .answered(nil, milliseconds: 0)
        #expect(readiness.isReady && readiness.text(verbose: false) == "ok\nrecovery: running\n")
        readiness.isStopping = true
        #expect(!readiness.isReady && readiness.text(verbose: false) == "stopping\n")
        readiness.reading = .late
        #expect(readiness.text(verbose: false) == "stopping\npool: no answer within 2000 ms\n")
    }

    @Test("readyz ignores the checks for pulls without ?pull, and lists them with ?verbose")
    func pullReadiness() {
        let cases: [(ReadinessProbes.Pulling, String?)] = [
            (.never, nil), (.asked(.late), "no answer within 2000 ms"),
            (.asked(.answered(.success(DiskReport(freeBytes: 9)), milliseconds: 1)), nil),
            // Less than nothing is free within a limit, and nothing was refused: images leave for the next pull.
            (.asked(.answered(.success(DiskReport(freeBytes: -9)), milliseconds: 1)), nil),
            (
                .asked(.answered(.success(DiskReport(freeBytes: 9, wantedBytes: 10)), milliseconds: 1)),
                "no room: 9 bytes free, 10 wanted"
            ),
            (
                .asked(.answered(.success(DiskReport(freeBytes: 9, freeInodes: 15)), milliseconds: 1)),
                "no room: 15 inodes free, 16 wanted"
            ),
            (
                .asked(.answered(.failure(.system(call: "open", path: "x", code: EROFS)), milliseconds: 1)),
                "x: open: Read-only file system"
            ),
        ]
        for (pulling, problem) in cases {
            var readiness = Readiness(reading: .answered(nil, milliseconds: 0), pulling: pulling)
            #expect(readiness.isReady && readiness.text(verbose: false) == "ok\n", "\(problem ?? "-")")
            #expect(readiness.text(verbose: true).contains(problem.map { "[-] pull: \($0)\n" } ?? "[+] pull: "))
            readiness.asksForPulls = true
            #expect(readiness.isReady == (problem == nil) && pulling.isReady == (problem == nil))
            #expect(readiness.text(verbose: false) == (problem.map { "pull: \($0)\n" } ?? "ok\n"))
        }
    }

    // MARK: The pool

    @Test("a stuck thread pool makes /readyz fail, and probes share one pending job") func stuckPool() throws {
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
        let pulls = (0..<20).map { _ in kit.start("/readyz?pull") }
        kit.mirror.wait(for: pulls)
        for client in pulls { #expect(client.response.status == 503) }
        #expect(kit.ask("/readyz?pull&verbose").text.contains("[-] pull: no answer within 20 ms\n"))
        #expect(kit.mirror.offload.inFlight == jobs + 2, "and one for all requests that check for room")
        #expect(kit.ask("/livez").status == 200 && kit.ask("/health").status == 200)
        jam.release()
        kit.mirror.settle()
        kit.close()
    }

    @Test("probes made while a check runs share its result") func sharedProbe() throws {
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
        run.run(milliseconds: 1)
        #expect(late == 2 && answers.count == 2, "what is late is not asked again")
        answers[1](2)
        #expect(given == [1, 1], "nobody waits for it any more")
        probe.ask(then: note)
        answers[2](3)
        #expect(given == [1, 1, 3])
        run.close()
    }

    // MARK: The disk

    @Test("a disk without room for a refused blob makes /readyz?pull fail, though small writes fit", .needs(.root))
    func nearlyFullDisk() throws {
        let disk = try SmallDisk(sizeBytes: 8 << 20)
        let kit = try Kit(imagePath: disk.path)
        #expect(kit.ask("/readyz?pull").status == 200)
        // All but 100 kB is taken; a blob comes that would need more.
        let filler = disk.path + "/filler"
        let descriptor = try Disk.open(filler, O_RDWR | O_CREAT)
        let free = try Disk.freeSpace(descriptor, filler)
        try Disk.write([UInt8](repeating: 1, count: Int(free) - 100_000), to: descriptor, filler)
        #expect(kit.ask("/readyz?pull").status == 200, "no write has been refused yet")
        let bytes = pattern(1_000_000)
        let target = "/v2/team/app/blobs/\(digestOf(bytes))"
        kit.mirror.fake.on(target) { .blob(bytes, for: $0) }
        // The upstream is asked before the room is: the head may be out when the pull fails, and the body ends short.
        let passed = kit.mirror.get(target)
        #expect(passed.header("x-ociregistry-cache") == "bypass" || !passed.isComplete)
        kit.mirror.settle()
        let full = kit.ask("/readyz?pull")
        #expect(full.status == 503 && full.text.hasPrefix("pull: no room: "))
        #expect(kit.ask("/readyz").status == 200, "what is cached is served")
        #expect(try kit.mirror.scrape()["ociregistry_ready_for_pulls"] == 0)
        #expect(kit.ask("/livez").status == 200)
        // Room again.
        close(descriptor)
        unlink(filler)
        #expect(kit.ask("/readyz?pull").status == 200)
        #expect(try kit.mirror.scrape()["ociregistry_ready_for_pulls"] == 1)
        #expect(kit.mirror.get(target).status == 200)
        kit.mirror.settle()
        kit.close()
    }

    @Test("a full disk is ready to serve, not to pull; an air-gapped server never pulls", .needs(.root))
    func fullDisk() throws {
        let disk = try SmallDisk(sizeBytes: 1 << 20)
        let kit = try Kit(imagePath: disk.path)
        let filler = disk.path + "/filler"
        let descriptor = try Disk.open(filler, O_RDWR | O_CREAT)
        var written: Int64 = 0
        let page = pattern(4096)
        while (try? page.withUnsafeBytes { try Disk.write($0, to: descriptor, at: written, filler) }) != nil {
            written += 4096
        }
        let full = kit.ask("/readyz?pull")
        #expect(full.status == 503 && full.text.hasPrefix("pull: no room: "))
        let verbose = kit.ask("/readyz?verbose")
        #expect(verbose.status == 200 && verbose.text.hasPrefix("ok\n") && verbose.text.contains("[-] pull: no room: "))
        #expect(kit.ask("/readyz?verbose&pull").status == 503)
        #expect(kit.ask("/readyz").status == 200 && kit.ask("/readyz").text == "ok\n")
        close(descriptor)
        kit.close()
        let reader = try Kit(imagePath: disk.path, pulls: false)
        let airGapped = reader.ask("/readyz?pull&verbose")
        #expect(airGapped.status == 200 && airGapped.text.contains("[+] pull: air-gapped, nothing is pulled\n"))
        reader.close()
    }

    /// Each tiny image takes several inodes; those of an image that was refused are free again, and are too few.
    @Test("when inodes run out the server is ready to serve, not to pull, and a restart serves", .needs(.root))
    func inodesRunOut() throws {
        let disk = try SmallDisk(sizeBytes: 20 << 20, inodes: 120)
        let kit = try Kit(imagePath: disk.path)
        let images = (0..<60).map { FakeImage(layerBytes: [10], seed: UInt64(1000 + $0)) }
        for (number, image) in images.enumerated() { image.put(on: kit.mirror.fake, tag: "t\(number)") }
        func isServed(_ number: Int, by mirror: MirrorKit) -> Bool {
            let blobs = images[number].blobs.map { mirror.get("/v2/team/app/blobs/\(digestOf($0))") }
            return mirror.get("/v2/team/app/manifests/t\(number)").status == 200
                && zip(blobs, images[number].blobs).allSatisfy { $0.status == 200 && $0.body == $1 }
                && blobs.allSatisfy { $0.header("x-ociregistry-cache") == nil }
        }
        let served = images.indices.filter { isServed($0, by: kit.mirror) }
        kit.mirror.settle()
        #expect(served.count > 5 && served.count < images.count)
        #expect(served.prefix(5).allSatisfy { isServed($0, by: kit.mirror) })
        #expect(kit.ask("/readyz").status == 200)
        let pull = kit.ask("/readyz?pull")
        #expect(pull.status == 503 && pull.text.hasPrefix("pull: no room: "), "\(pull.text)")
        #expect(try kit.mirror.scrape()["ociregistry_ready_for_pulls"] == 0)
        kit.close()
        let restarted = try Kit(imagePath: disk.path)
        #expect(restarted.ask("/readyz").status == 200 && restarted.ask("/readyz?pull").status == 503)
        // Nothing is asked of the upstream, which knows none of it any more.
        #expect(served.prefix(5).allSatisfy { isServed($0, by: restarted.mirror) })
        restarted.close()
    }

    /// What an upstream claims says nothing of the disk: there is room, so the server is ready.
    @Test("a blob larger than any disk does not make the server unready") func absurdSize() throws {
        let fixture = try StoreFixture()
        let ingest = try fixture.begin(try fixture.key(digestOf([1])))
        let error: StoreError? = try fixture.wait { ingest.reserve(totalBytes: Int64.max / 2, then: $0) }
        #expect(error?.isNoSpace == true && fixture.store.roomWantedBytes > 0)
        let look: Result<DiskReport, StoreError> = try fixture.wait { fixture.store.lookAtDisk(then: $0) }
        let report = try look.get()
        #expect(report.wantedBytes <= Store.maximumWantedBytes)
        if !report.isFull { #expect(fixture.store.roomWantedBytes == 0) }
        ingest.discard()
    }

    @Test("a refused write is forgotten once as many bytes have been written") func refusalForgotten() throws {
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

    @Test("an unreadable store is not ready, and an unwritable one is not ready for pulls")
    func unreadableStore() throws {
        let kit = try Kit()
        let layout = kit.mirror.store.layout
        for (directory, target, name) in [
            (layout.temporary, "/readyz?pull", "pull"), (layout.blobs, "/readyz", "store"),
            (layout.manifests, "/readyz", "store"), (layout.tags, "/readyz", "store"),
        ] {
            try FileManager.default.moveItem(atPath: directory, toPath: directory + ".away")
            let ready = kit.ask(target)
            #expect(ready.status == 503 && ready.text.hasPrefix("\(name): \(directory)"), "\(ready.text)")
            #expect(kit.ask("/readyz").status == (name == "pull" ? 200 : 503))
            try FileManager.default.moveItem(atPath: directory + ".away", toPath: directory)
            #expect(kit.ask("/readyz?pull").status == 200)
        }
        kit.close()
    }

    // MARK: The end

    @Test("a stopping server is alive and not ready") func stopping() throws {
        let kit = try Kit()
        kit.health.isStopping = true
        let ready = kit.ask("/readyz")
        #expect(ready.status == 503 && ready.text == "stopping\n")
        #expect(kit.ask("/livez").status == 200 && kit.ask("/health").status == 200)
        #expect(kit.ask("/livez?verbose").text.hasSuffix("stopping\n"))
        kit.close()
    }

    @Test("health probes are logged at level debug only") func probeLogging() {
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
            } then: { _ in
            }
        }
    }

    var isTight: Bool { held.load(ordering: .sequentiallyConsistent) == count }
    func release() { for _ in 0..<count { gate.signal() } }
}
