// Runs an event loop for a test, and ends it when the test has what it waits for, or when something hangs.

internal import Glibc
package import Registry
package import Testing

package final class LoopRun {
    /// Far more than any test takes; a hang then fails by name instead of stopping the whole run.
    package static let limitMilliseconds: UInt64 = 60_000

    package let loop: EventLoop
    private var isFinished = false
    private var closers: [() -> Void] = []

    package init() throws {
        signal(SIGPIPE, SIG_IGN)
        loop = try EventLoop()
    }

    /// Called at `close`, last registered first: clients, servers and timers that would keep the loop alive.
    package func atClose(_ action: @escaping () -> Void) { closers.append(action) }

    /// Ends the `run` that is in progress, or else the next one.
    package func finish() {
        isFinished = true
        loop.stop()
    }

    /// Runs until `finish`.
    package func run(_ location: SourceLocation = #_sourceLocation) {
        let watchdog = Timer(on: loop) { [self] in
            Issue.record("the loop did not finish in time", sourceLocation: location)
            finish()
        }
        watchdog.start(afterMilliseconds: LoopRun.limitMilliseconds)
        while !isFinished { loop.run() }
        isFinished = false
        watchdog.close()
    }

    /// Runs for so long, whatever happens: for what must *not* happen.
    package func run(milliseconds: UInt64) {
        let timer = Timer(on: loop) { [self] in finish() }
        timer.start(afterMilliseconds: milliseconds)
        while !isFinished { loop.run() }
        isFinished = false
        timer.close()
    }

    /// Closes everything registered and the loop; what is left open then is a leak.
    package func close(_ location: SourceLocation = #_sourceLocation) {
        for closer in closers.reversed() { closer() }
        closers.removeAll()
        #expect(loop.close(), "a handle was left open", sourceLocation: location)
    }
}
