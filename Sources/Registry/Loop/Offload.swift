// The only entry to the thread pool: work goes out as a Sendable closure, and its result comes back on the loop.

internal import CLibuv
internal import DequeModule
internal import Glibc
internal import OCI

/// Runs blocking work in libuv's thread pool (docs.libuv.org, "Thread pool work scheduling").
package final class Offload {
    /// Threads of the pool, unless the user sets another number. Disks with a queue need several requests at once, and
    /// with libuv's default of 4, four fsyncs would block all reads; idle threads cost little but address space.
    package static let threadCount = 16

    fileprivate let loop: EventLoop
    /// Jobs whose completion has not run yet.
    package private(set) var inFlight = 0
    /// Time that jobs waited for a thread (`waits`) and ran on it (`runs`).
    package private(set) var waits = HistogramTable(.iterations)
    package private(set) var runs = HistogramTable(.iterations)

    package init(on loop: EventLoop) { self.loop = loop }

    /// The number of pool threads, as libuv (1.44) reads it from the environment: 1 to 1024.
    package static var threads: Int {
        guard let text = getenv("UV_THREADPOOL_SIZE") else { return 4 }
        return OutsideNumber.decimal(String(cString: text), clampedTo: 1...1024) ?? 1
    }

    /// Runs `work` on a pool thread, then `then` on the loop. Jobs may run in any order.
    package func run<R: Sendable>(
        _ work: @escaping @Sendable () throws -> R, then: @escaping (Result<R, any Error>) -> Void
    ) {
        let job = TypedJob(work: work, then: then)
        job.owner = self
        inFlight += 1
        job.request.pointee.data = Unmanaged<Job>.passRetained(job).toOpaque()
        let code = uv_queue_work(
            loop.pointer, job.request, { Job.from($0).performMeasured() },
            { raw, _ in
                let job = Job.from(raw)
                job.owner?.loop.wake()
                job.complete()
                Unmanaged.passUnretained(job).release()
            })
        // uv_queue_work fails only for a null callback, which these are not.
        precondition(code == 0, "uv_queue_work: \(code)")
    }

    private func finished(_ job: Job) {
        inFlight -= 1
        waits.observe(job.startedNanoseconds &- job.queuedNanoseconds)
        runs.observe(job.endedNanoseconds &- job.startedNanoseconds)
    }

    /// The part of a job that does not depend on its result type, for C callbacks. Only `performMeasured` runs off the
    /// loop; it touches the work, the result and the times, and libuv orders it before `complete`.
    fileprivate class Job {
        final let request = UnsafeMutablePointer<uv_work_t>.allocate(capacity: 1)
        final var owner: Offload?
        final let queuedNanoseconds = uv_hrtime()
        final fileprivate(set) var startedNanoseconds: UInt64 = 0
        final fileprivate(set) var endedNanoseconds: UInt64 = 0

        static func from(_ raw: UnsafeMutablePointer<uv_work_t>?) -> Job {
            // Set in `run` before the request was queued.
            Unmanaged<Job>.fromOpaque(raw.unsafelyUnwrapped.pointee.data.unsafelyUnwrapped).takeUnretainedValue()
        }

        final func performMeasured() {
            startedNanoseconds = uv_hrtime()
            perform()
            endedNanoseconds = uv_hrtime()
        }

        func perform() {}
        func complete() {}
        deinit { request.deallocate() }
    }

    private final class TypedJob<R: Sendable>: Job {
        private var work: (@Sendable () throws -> R)?
        private let then: (Result<R, any Error>) -> Void
        private var result: Result<R, any Error>?

        init(work: @escaping @Sendable () throws -> R, then: @escaping (Result<R, any Error>) -> Void) {
            self.work = work
            self.then = then
        }

        override func perform() {
            guard let work else { return }
            result = Result { try work() }
        }

        override func complete() {
            owner?.finished(self)
            work = nil
            if let result { then(result) }
        }
    }
}

/// Runs one job at a time, in the order of the calls: writes to one file need this, since the pool keeps no order.
package final class SerialOffload {
    private let offload: Offload
    private var waiting: Deque<() -> Void> = []
    private var isRunning = false

    package init(_ offload: Offload) { self.offload = offload }

    /// Whether no job runs or waits.
    package var isIdle: Bool { !isRunning && waiting.isEmpty }

    /// Runs `work` like `Offload.run`, after every earlier job has completed.
    package func run<R: Sendable>(
        _ work: @escaping @Sendable () throws -> R, then: @escaping (Result<R, any Error>) -> Void
    ) {
        waiting.append { [self] in
            offload.run(work) { result in
                self.isRunning = false
                then(result)
                self.startNext()
            }
        }
        startNext()
    }

    private func startNext() {
        guard !isRunning, let next = waiting.popFirst() else { return }
        isRunning = true
        next()
    }
}
