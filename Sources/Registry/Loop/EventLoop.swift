// The one event loop: sockets (`SocketSet`), and libuv's timers, threads and signals. Everything that is not pure and
// not in the thread pool happens on its thread; nothing here is Sendable, so the compiler refuses to let any of it
// leave.

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

/// The sockets, libuv's loop beside them, and the queue that is drained in each turn.
///
/// Source: docs.libuv.org, "uv_loop_t"; what of it runs when is up to `turn`.
package final class EventLoop {
    let pointer: UnsafeMutablePointer<uv_loop_t>
    package let deferred = DeferredQueue()
    let sockets: SocketSet
    private let meter = TurnMeter()
    /// Whether libuv's loop has to run, whatever it says it can wait.
    private var isLibuvDue = true
    private var isInLibuv = false
    private var isStopping = false
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
        sockets = try SocketSet(beside: loop)
        nowMilliseconds = meter.recentNanoseconds / 1_000_000
    }

    /// Milliseconds of a monotonic clock (that of `uv_hrtime`), read when a turn's wait has ended.
    package private(set) var nowMilliseconds: UInt64

    /// Nanoseconds of the same clock, read when asked (`uv_hrtime`).
    package static var nowNanoseconds: UInt64 { uv_hrtime() }

    /// The same, and noted as `recentNanoseconds`.
    package func readClock() -> UInt64 { meter.read() }

    /// When the clock was last read in this turn: when the turn began, or since, when an answer ended. What has
    /// happened since then is at most what one callback does.
    package var recentNanoseconds: UInt64 { meter.recentNanoseconds }

    /// Lets libuv's loop run in the next turn: it has been given something that it only then begins to watch.
    func letLibuvRun() { isLibuvDue = true }

    /// A timer is about to be started. libuv counts from when it last looked at the clock, which may be many turns ago;
    /// while it runs, no more than that: time that moves there would make its timers due again and again.
    func timerStarts() {
        if !isInLibuv { uv_update_time(pointer) }
    }

    /// A timer has been found due by libuv's reading of the clock, which is newer than the turn's.
    func timerIsDue() { nowMilliseconds = max(nowMilliseconds, uv_now(pointer)) }

    /// Sockets, timers and signals that keep the loop running. (The sockets have one of libuv's handles together.)
    package var activeHandles: Int { Int(pointer.pointee.active_handles) + max(0, sockets.count - 1) }

    /// Busy time of each iteration so far.
    package var turns: HistogramTable { meter.turns }

    /// Time spent waiting for events.
    package var idleNanoseconds: UInt64 { meter.idleNanoseconds }

    /// Seconds since 1970, read when asked.
    package static var unixSeconds: Int64 { unixMilliseconds / 1000 }

    /// Milliseconds since 1970, read when asked.
    package static var unixMilliseconds: Int64 { LogTimestamp.now() }

    /// Runs until `stop`, or until nothing is left that could happen.
    package func run() {
        isStopping = false
        isLibuvDue = true
        while !isStopping, isAlive { turn() }
    }

    private var isAlive: Bool { uv_loop_alive(pointer) != 0 || deferred.isPending }

    /// What was put off; timers, threads and signals, if any are due; then a wait, and the sockets that are ready.
    private func turn() {
        deferred.drain()
        let hasRun = isLibuvDue
        if hasRun {
            runLibuv()
            deferred.drain()
        }
        meter.sleep()
        var wait = libuvWaits(leastMilliseconds: hasRun ? 1 : 0)
        if wait == 0 { isLibuvDue = true }
        if deferred.isPending || sockets.isDue || isStopping { wait = 0 }
        let ready = sockets.wait(milliseconds: wait)
        nowMilliseconds = meter.wake() / 1_000_000
        if sockets.tell(ready) { isLibuvDue = true }
    }

    private func runLibuv() {
        isLibuvDue = false
        isInLibuv = true
        uv_run(pointer, UV_RUN_NOWAIT)
        isInLibuv = false
    }

    /// How long libuv's loop may be left alone, in milliseconds; -1 without end.
    /// - Parameter leastMilliseconds: where it waits for time at all. libuv may read a clock that is a tick behind, and
    ///   what has just run then finds nothing due yet.
    private func libuvWaits(leastMilliseconds: Int32) -> Int32 {
        let wait = uv_backend_timeout(pointer)
        guard wait > 0 else { return wait }
        // It counts from when libuv last looked at the clock.
        let now = meter.recentNanoseconds / 1_000_000
        let passed = now > uv_now(pointer) ? now - uv_now(pointer) : 0
        return max(leastMilliseconds, passed < UInt64(wait) ? wait - Int32(passed) : 0)
    }

    /// Ends the `run` that is in progress after its current turn; one that has not begun knows nothing of it.
    package func stop() { isStopping = true }

    /// Version of the libuv this process runs on.
    package static var libraryVersion: String { String(cString: uv_version_string()) }

    /// Does what was put off, and runs libuv's loop until every handle has gone. All of them, and all sockets, must
    /// have been closed.
    /// - Returns: whether the loop could be freed; false means that a handle was left open (a bug its owner should
    ///   see).
    @discardableResult
    package func close() -> Bool {
        isStopping = false
        while deferred.isPending { deferred.drain() }
        sockets.close()
        uv_run(pointer, UV_RUN_DEFAULT)
        guard uv_loop_close(pointer) == 0, sockets.count == 0 else { return false }
        pointer.deallocate()
        readBuffer.deallocate()
        writeBuffer.deallocate()
        return true
    }
}
