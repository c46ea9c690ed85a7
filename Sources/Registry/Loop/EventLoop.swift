// The one event loop. Everything that is not pure and not in the thread pool happens on its thread; nothing here is
// Sendable, so the compiler refuses to let any of it leave.

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

/// A libuv loop and the queue that is drained once each turn of it.
///
/// Source: docs.libuv.org, "uv_loop_t".
package final class EventLoop {
    let pointer: UnsafeMutablePointer<uv_loop_t>
    package let deferred: DeferredQueue
    private let meter = TurnMeter()
    private let hooks: TurnHooks
    /// What every connection reads into: what has been read is dealt with at once, so one serves them all.
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
        hooks = try TurnHooks(on: loop, deferred: deferred, meter: meter)
    }

    /// Milliseconds of a monotonic clock, read once a turn (`uv_now`).
    package var nowMilliseconds: UInt64 { uv_now(pointer) }

    /// Nanoseconds of the same clock, read when asked (`uv_hrtime`).
    package static var nowNanoseconds: UInt64 { uv_hrtime() }

    /// The same, and noted as `recentNanoseconds`.
    package func readClock() -> UInt64 { meter.read() }

    /// When the clock was last read in this turn: when the turn began, or since, when an answer ended. What has
    /// happened since then is at most what one callback does.
    package var recentNanoseconds: UInt64 { meter.recentNanoseconds }

    /// Said first by every callback that comes out of libuv's wait for events, so that the wait is known to have ended.
    @inline(__always)
    func wake() { meter.wake() }

    /// Handles that keep the loop running.
    package var activeHandles: Int { Int(pointer.pointee.active_handles) }

    /// Busy time of each iteration so far.
    package var turns: HistogramTable { meter.turns }

    /// Time spent waiting for events.
    package var idleNanoseconds: UInt64 { meter.idleNanoseconds }

    /// Seconds since 1970, read when asked.
    package static var unixSeconds: Int64 { unixMilliseconds / 1000 }

    /// Milliseconds since 1970, read when asked.
    package static var unixMilliseconds: Int64 { LogTimestamp.now() }

    /// Runs until `stop` or until nothing active is left.
    package func run() { uv_run(pointer, UV_RUN_DEFAULT) }

    /// Ends `run` after the current turn.
    package func stop() { uv_stop(pointer) }

    /// Version of the libuv this process runs on.
    package static var libraryVersion: String { String(cString: uv_version_string()) }

    /// Closes the queue's handles and runs the loop until every handle has gone. Other handles must have been closed.
    /// - Returns: whether the loop could be freed; false means that a handle was left open (a bug its owner should
    ///   see).
    @discardableResult
    package func close() -> Bool {
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
