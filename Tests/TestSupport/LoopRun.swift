// Runs an event loop for a test, until the test has finished or a time limit is reached.

internal import Glibc
package import Registry
package import Testing

package final class LoopRun {
    /// Far more than any test takes, so that a hang fails the test by name instead of stopping the whole run.
    package static let limitMilliseconds: UInt64 = 60_000

    package let loop: EventLoop
    private var isFinished = false
    private var closers: [() -> Void] = []

    package init() throws {
        signal(SIGPIPE, SIG_IGN)
        loop = try EventLoop()
    }

    /// Registers an action for `close`, which runs the last one first: for clients, servers and timers that would keep
    /// the loop alive.
    package func atClose(_ action: @escaping () -> Void) { closers.append(action) }

    /// Ends the current `run`, or else the next one.
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

    /// Runs for this time, whatever happens: for events that must not occur.
    package func run(milliseconds: UInt64) {
        let timer = Timer(on: loop) { [self] in finish() }
        timer.start(afterMilliseconds: milliseconds)
        while !isFinished { loop.run() }
        isFinished = false
        timer.close()
    }

    /// Runs until the condition holds. It is checked once a millisecond.
    package func wait(until condition: @escaping () -> Bool, _ location: SourceLocation = #_sourceLocation) {
        if condition() { return }
        let timer = Timer(on: loop) { [self] in if condition() { finish() } }
        timer.start(afterMilliseconds: 1, everyMilliseconds: 1)
        run(location)
        timer.close()
    }

    /// Closes everything registered and the loop; a handle that is still open then is a leak.
    package func close(_ location: SourceLocation = #_sourceLocation) {
        for closer in closers.reversed() { closer() }
        closers.removeAll()
        #expect(loop.close(), "a handle was left open", sourceLocation: location)
    }
}
