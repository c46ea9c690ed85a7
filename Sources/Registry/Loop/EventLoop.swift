// The event loop (libuv's) and its clock. All code that is neither pure nor in the thread pool runs on its thread;
// nothing here is Sendable, so the compiler keeps it on that thread.

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
    /// Shared by all connections, since received bytes are handled before the next read.
    let readBuffer = UnsafeMutableRawBufferPointer.allocate(byteCount: EventLoop.readBufferBytes, alignment: 64)

    /// Holds the pieces of a short response, copied together for one `send`.
    let writeBuffer = UnsafeMutableRawPointer.allocate(byteCount: TCPStream.copiedBytes, alignment: 64)

    /// Large enough for a burst of pipelined requests, small enough to stay in the second-level cache.
    static let readBufferBytes = 64 * 1024

    /// Makes the loop; `close` frees it.
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

    /// Reads the same clock and stores the result as `recentNanoseconds`.
    package func readClock() -> UInt64 { metrics.read() }

    /// The latest clock reading of this iteration: its start, or the end of a response since then. It is out of date by
    /// at most the work of one callback.
    package var recentNanoseconds: UInt64 { metrics.recentNanoseconds }

    /// Marks the end of libuv's wait; every callback for an event must call it first.
    @inline(__always)
    func wake() { metrics.wake() }

    /// Number of handles that keep the loop running.
    package var activeHandles: Int { Int(clamping: pointer.pointee.active_handles) }

    /// Busy time of each iteration so far.
    package var iterations: HistogramTable { metrics.iterations }

    /// Time spent waiting for events.
    package var idleNanoseconds: UInt64 { metrics.idleNanoseconds }

    /// Seconds since 1970, read by this call.
    package static var unixSeconds: Int64 { unixMilliseconds / 1000 }

    /// Milliseconds since 1970, read by this call.
    package static var unixMilliseconds: Int64 { LogTimestamp.now() }

    /// Runs until `stop`, or until no active handle is left.
    package func run() {
        isRunning = true
        uv_run(pointer, UV_RUN_DEFAULT)
        isRunning = false
    }

    /// Ends the current `run` after this iteration; has no effect outside `run`.
    package func stop() {
        // libuv keeps the stop flag: set outside `run`, it would end the next run at once.
        if isRunning { uv_stop(pointer) }
    }

    /// Version of the libuv this process runs on.
    package static var libraryVersion: String { String(cString: uv_version_string()) }

    /// Runs the deferred actions, closes the loop's own handles, and runs libuv until every handle is closed. The
    /// caller must have closed all other handles.
    /// - Returns: whether the loop was freed; false means that a handle was left open, a bug of its owner.
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
