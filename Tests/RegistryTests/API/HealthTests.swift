// The health listener: its endpoints, a stuck pool, and a server that is stopping. A probe costs nothing that could
// make trouble worse.

import Foundation
import Glibc
import Logging
import Synchronization
import TestSupport
import Testing

@testable import Registry

@Suite struct HealthTests {
    @Test("a healthy server answers /health, /livez and /readyz, and nothing else there") func healthy() throws {
        let kit = try HealthKit()
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
        let kit = try HealthKit()
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
        let kit = try HealthKit(deadlineMilliseconds: 20)
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
        run.wait(until: { late > 0 })
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

    // MARK: The end

    @Test("a stopping server is alive and not ready") func stopping() throws {
        let kit = try HealthKit()
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
