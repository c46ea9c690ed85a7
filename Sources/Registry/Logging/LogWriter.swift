// Writes log lines off the loop: one thread drains one bounded buffer to stderr or a file. The caller copies its line
// under a lock and continues; a disk that hangs or a pipe without a reader costs lines, never a response. Lines that do
// not fit are counted, and the count is logged as soon as there is room again.

package import Configuration
import Glibc
import Logging

/// The writer thread and its buffer. Sendable by its lock: every stored `var` is accessed with `lock` held, except
/// `descriptor`, which belongs to the writer thread once it runs.
package final class LogWriter: @unchecked Sendable {
    /// About six thousand lines: more than a second of requests at any rate worth logging.
    package static let maximumBufferedBytes = 1024 * 1024
    /// Longest wait of a flush at exit: a pipe without a reader must not keep the process alive.
    package static let flushTimeoutMilliseconds = 2000

    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    /// Signalled when there are lines to write, a file to reopen, or the end.
    private let wakeUp = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    /// Signalled when the writer thread has finished a round.
    private let roundDone = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var pending: [UInt8] = []
    /// Dropped lines not yet reported in the log.
    private var droppedLines = 0
    /// Lines dropped since the start.
    private var allDroppedLines: UInt64 = 0
    private var isWriting = false
    private var mustReopen = false
    private var isClosed = false
    private var descriptor: Int32
    private let path: String?
    /// The format of every line, including this writer's own reports.
    package let format: LogFormat
    private let maximumBufferedBytes: Int
    private var thread = pthread_t()

    /// - Parameter path: the file to append to; nil is stderr.
    /// - Throws: `LogFileError` when the file cannot be opened, or no thread can be started.
    package convenience init(path: String?, format: LogFormat = .text) throws(LogFileError) {
        let descriptor = try path.map { path throws(LogFileError) in try LogFile.open(path) } ?? STDERR_FILENO
        try self.init(
            descriptor: descriptor, path: path, format: format, maximumBufferedBytes: Self.maximumBufferedBytes)
    }

    /// - Parameter descriptor: the destination; closed at the end when `path` is given.
    package init(
        descriptor: Int32, path: String?, format: LogFormat = .text, maximumBufferedBytes: Int
    ) throws(LogFileError) {
        self.descriptor = descriptor
        self.path = path
        self.format = format
        self.maximumBufferedBytes = maximumBufferedBytes
        pthread_mutex_init(lock, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(wakeUp, nil)
        pthread_cond_init(roundDone, &attributes)
        pthread_condattr_destroy(&attributes)
        pending.reserveCapacity(16 * 1024)
        try start()
    }

    deinit {
        pthread_cond_destroy(roundDone)
        pthread_cond_destroy(wakeUp)
        pthread_mutex_destroy(lock)
        roundDone.deallocate()
        wakeUp.deallocate()
        lock.deallocate()
    }

    /// Buffers a whole line (with its line feed), or counts it as dropped when the buffer is full. Never blocks on I/O.
    package func append(_ line: [UInt8]) {
        locked {
            guard !isClosed, pending.count + line.count <= maximumBufferedBytes else {
                droppedLines += 1
                allDroppedLines += 1
                return
            }
            pending.append(contentsOf: line)
            pthread_cond_signal(wakeUp)
        }
    }

    /// Lines dropped since the start, because the buffer was full or a write failed.
    package var droppedLinesTotal: UInt64 { locked { allDroppedLines } }

    /// Reopens the file by its name before the next line, for log rotation. No effect on stderr.
    package func reopen() {
        guard path != nil else { return }
        locked {
            mustReopen = true
            pthread_cond_signal(wakeUp)
        }
    }

    /// Waits until all appended lines are written. False when that took longer than `timeoutMilliseconds`.
    @discardableResult
    package func flush(timeoutMilliseconds: Int = flushTimeoutMilliseconds) -> Bool {
        var deadline = timespec()
        clock_gettime(CLOCK_MONOTONIC, &deadline)
        deadline.tv_sec += timeoutMilliseconds / 1000
        deadline.tv_nsec += timeoutMilliseconds % 1000 * 1_000_000
        if deadline.tv_nsec >= 1_000_000_000 {
            deadline.tv_nsec -= 1_000_000_000
            deadline.tv_sec += 1
        }
        return locked {
            while hasWork || isWriting {
                if pthread_cond_timedwait(roundDone, lock, &deadline) == ETIMEDOUT { return false }
            }
            return true
        }
    }

    /// Writes the remaining lines, ends the thread and closes the file. Later lines are dropped. Call once, last.
    package func close(timeoutMilliseconds: Int = flushTimeoutMilliseconds) {
        locked {
            isClosed = true
            pthread_cond_signal(wakeUp)
        }
        // A thread that hangs in a write is abandoned; it ends with the process.
        if flush(timeoutMilliseconds: timeoutMilliseconds) {
            pthread_join(thread, nil)
        } else {
            pthread_detach(thread)
        }
    }
}

// MARK: - The writer's thread

extension LogWriter {
    /// Dropped lines alone are not work: they are reported with the next written line, so that a device that keeps
    /// failing causes no endless loop.
    private var hasWork: Bool { !pending.isEmpty || mustReopen }

    private func locked<R>(_ body: () -> R) -> R {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        return body()
    }

    /// Starts the thread, which retains the writer until `close`. It blocks all signals, since the loop handles them.
    private func start() throws(LogFileError) {
        var all = sigset_t()
        var before = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_BLOCK, &all, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        let retained = Unmanaged.passRetained(self)
        let status = pthread_create(
            &thread, nil,
            { context in
                // `start` always passes a retained writer, so the context is never null.
                context.map { Unmanaged<LogWriter>.fromOpaque($0).takeRetainedValue().run() }
                return nil
            }, retained.toOpaque())
        guard status == 0 else {
            retained.release()
            throw LogFileError(path: path ?? "log", errorNumber: status)
        }
    }

    private func run() {
        var batch: [UInt8] = []
        batch.reserveCapacity(16 * 1024)
        while let round = nextRound(&batch) {
            if round.mustReopen { reopenFile() }
            let lines = batch.count { $0 == UInt8(ascii: "\n") }
            if round.dropped > 0 { batch.append(contentsOf: dropReport(lines: round.dropped)) }
            let isWritten = LogFile.write(batch, to: descriptor)
            finishRound(lost: isWritten ? 0 : lines, unreported: isWritten ? 0 : round.dropped)
        }
        if path != nil { Glibc.close(descriptor) }
    }

    /// Swaps the filled buffer for the emptied one, so that neither is reallocated. Nil at the end.
    private func nextRound(_ batch: inout [UInt8]) -> (mustReopen: Bool, dropped: Int)? {
        batch.removeAll(keepingCapacity: true)
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        while !hasWork && !isClosed { pthread_cond_wait(wakeUp, lock) }
        guard hasWork else { return nil }
        swap(&batch, &pending)
        defer { (mustReopen, droppedLines, isWriting) = (false, 0, true) }
        return (mustReopen, droppedLines)
    }

    /// Lines that could not be written (a full disk, a closed pipe) count as dropped.
    private func finishRound(lost: Int, unreported: Int) {
        locked {
            isWriting = false
            droppedLines += lost + unreported
            allDroppedLines += UInt64(clamping: lost)
            pthread_cond_broadcast(roundDone)
        }
    }

    /// Keeps the open file when its name cannot be opened again: lines in the old file are better than none.
    private func reopenFile() {
        guard let path, let opened = try? LogFile.open(path) else { return }
        Glibc.close(descriptor)
        descriptor = opened
    }

    private func dropReport(lines: Int) -> [UInt8] {
        format.line(
            milliseconds: LogTimestamp.now(), level: .warning,
            message: "log lines dropped, the log could not be written fast enough",
            metadata: ["lines": .stringConvertible(lines)])
    }
}
