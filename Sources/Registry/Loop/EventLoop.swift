// The one event loop: libuv's. Everything that is not pure and not in the thread pool happens on its thread; nothing
// here is Sendable, so the compiler keeps all of it on that thread.

internal import CLibuv

/// A libuv call that failed: the call's name and libuv's text for the error.
package struct LoopError: Error, CustomStringConvertible, Equatable {
    package let call: String
    package let code: Int32

    package var description: String { "\(call): \(String(cString: uv_strerror(code)))" }

    /// Throws when a libuv return value is negative.
    static func check(_ code: Int32, _ call: String) throws(LoopError) {
        if code < 0 { throw LoopError(call: call, code: code) }
    }
}

/// A libuv loop, and the queue that is drained around each of its polls.
///
/// Source: docs.libuv.org, "uv_loop_t", "Design overview".
package final class EventLoop {
    let pointer: UnsafeMutablePointer<uv_loop_t>
    package let deferred: DeferredQueue
    private let metrics = LoopMetrics()
    private let hooks: LoopHooks
    /// Whether `run` is in progress.
    private(set) var isRunning = false
    /// Every connection reads into it: what has been read is handled at once, so one buffer serves them all.
    let readBuffer = UnsafeMutableRawBufferPointer.allocate(byteCount: EventLoop.readBufferBytes, alignment: 64)

    /// Where the pieces of a short answer are put together.
    let writeBuffer = UnsafeMutableRawPointer.allocate(byteCount: TCPStream.copiedBytes, alignment: 64)

    /// Large enough for a burst of pipelined requests, small enough to stay in the second-level cache.
    static let readBufferBytes = 64 * 1024

    /// Makes the loop. It lives as long as the process's work; `close` ends it.
    package init() throws(LoopError) {
        let loop = UnsafeMutablePointer<uv_loop_t>.allocate(capacity: 1)
        let code = uv_loop_init(loop)
        guard code == 0 else {
            loop.deallocate()
            throw LoopError(call: "uv_loop_init", code: code)
        }
        pointer = loop
        deferred = try DeferredQueue(on: loop)
        hooks = try LoopHooks(on: loop, deferred: deferred, metrics: metrics)
    }

    /// Milliseconds of a monotonic clock, read once an iteration (`uv_now`).
    package var nowMilliseconds: UInt64 { uv_now(pointer) }

    /// Nanoseconds of the same clock, read by this call (`uv_hrtime`).
    package static var nowNanoseconds: UInt64 { uv_hrtime() }

    /// The same, and noted as `recentNanoseconds`.
    package func readClock() -> UInt64 { metrics.read() }

    /// When the clock was last read in this iteration: when it began, or since, when an answer ended. What has happened
    /// since then is at most the work of one callback.
    package var recentNanoseconds: UInt64 { metrics.recentNanoseconds }

    /// Called first by every callback that comes out of libuv's wait for events, so that the wait is known to have
    /// ended.
    @inline(__always)
    func wake() { metrics.wake() }

    /// Handles that keep the loop running.
    package var activeHandles: Int { Int(clamping: pointer.pointee.active_handles) }

    /// Busy time of each iteration so far.
    package var iterations: HistogramTable { metrics.iterations }

    /// Time spent waiting for events.
    package var idleNanoseconds: UInt64 { metrics.idleNanoseconds }

    /// Seconds since 1970, read by this call.
    package static var unixSeconds: Int64 { unixMilliseconds / 1000 }

    /// Milliseconds since 1970, read by this call.
    package static var unixMilliseconds: Int64 { LogTimestamp.now() }

    /// Runs until `stop`, or until nothing is left that could happen.
    package func run() {
        isRunning = true
        uv_run(pointer, UV_RUN_DEFAULT)
        isRunning = false
    }

    /// Ends the `run` that is in progress after its current iteration; without one, this has no effect.
    package func stop() {
        // libuv would keep the flag, and the next run would end before it had begun.
        if isRunning { uv_stop(pointer) }
    }

    /// Version of the libuv this process runs on.
    package static var libraryVersion: String { String(cString: uv_version_string()) }

    /// Runs the deferred actions, closes the loop's own handles, and runs libuv until every handle has gone. All others
    /// must have been closed.
    /// - Returns: whether the loop could be freed; false means that a handle was left open (a bug its owner should
    ///   see).
    @discardableResult
    package func close() -> Bool {
        while deferred.isPending { deferred.drain() }
        deferred.close()
        hooks.close()
        uv_run(pointer, UV_RUN_DEFAULT)
        guard uv_loop_close(pointer) == 0 else { return false }
        pointer.deallocate()
        readBuffer.deallocate()
        writeBuffer.deallocate()
        return true
    }
}
