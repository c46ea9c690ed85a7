// The only door to the thread pool. Work goes out as a Sendable closure, its result comes back on the loop.

internal import CLibuv
internal import DequeModule

/// Runs blocking work in libuv's thread pool (docs.libuv.org, "Thread pool work scheduling").
package final class Offload {
    /// Threads of the pool, unless the user has set another number. Disks with a queue want several requests at once,
    /// and libuv's own 4 would let four fsyncs hold up all reads; idle threads cost little but address space.
    package static let threadCount = 16

    private let loop: EventLoop
    /// Jobs handed out whose completion has not run yet.
    package private(set) var inFlight = 0

    package init(on loop: EventLoop) { self.loop = loop }

    /// Runs `work` on a pool thread, then `then` on the loop. There is no order between jobs.
    package func run<R: Sendable>(
        _ work: @escaping @Sendable () throws -> R, then: @escaping (Result<R, any Error>) -> Void
    ) {
        let job = TypedJob(work: work, then: then)
        job.finished = { [self] in inFlight -= 1 }
        inFlight += 1
        job.request.pointee.data = Unmanaged<Job>.passRetained(job).toOpaque()
        let code = uv_queue_work(
            loop.pointer, job.request, { Job.from($0).perform() },
            { raw, _ in
                let job = Job.from(raw)
                job.complete()
                Unmanaged.passUnretained(job).release()
            })
        // uv_queue_work fails only for a null callback, which these are not.
        precondition(code == 0, "uv_queue_work: \(code)")
    }

    /// What a C callback can name of a job. `perform` is the one method that runs off the loop; it touches nothing but
    /// the work and the result, and libuv's own hand-over orders it before `complete`.
    fileprivate class Job {
        final let request = UnsafeMutablePointer<uv_work_t>.allocate(capacity: 1)
        final var finished: (() -> Void)?

        static func from(_ raw: UnsafeMutablePointer<uv_work_t>?) -> Job {
            // Set in `run` before the request was queued.
            Unmanaged<Job>.fromOpaque(raw.unsafelyUnwrapped.pointee.data.unsafelyUnwrapped).takeUnretainedValue()
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
            finished?()
            work = nil
            if let result { then(result) }
        }
    }
}

/// One job at a time, in the order given: what a chain of writes to one file needs, since the pool keeps no order.
package final class SerialOffload {
    private let offload: Offload
    private var waiting: Deque<() -> Void> = []
    private var isRunning = false

    package init(_ offload: Offload) { self.offload = offload }

    /// Whether nothing runs and nothing waits.
    package var isIdle: Bool { !isRunning }

    /// As `Offload.run`, after every job given before has completed.
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
