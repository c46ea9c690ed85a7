// Writes log lines off the loop: one thread drains one bounded buffer to stderr or a file. The caller copies its line
// under a lock and continues; a disk that hangs or a pipe without a reader costs lines, never a response. Lines that do
// not fit are counted, and the count is logged as soon as there is room again.

package import Configuration
import Glibc
import Logging
internal import Synchronization

/// Where the log is written.
package struct LogDestination: Sendable, Equatable {
    package let descriptor: Int32
    /// The name of the file, which is closed by the writer; nil: not a file of this writer's own, such as stderr.
    package let path: String?

    package init(descriptor: Int32, path: String?) {
        self.descriptor = descriptor
        self.path = path
    }

    /// Opens a file for appending; nil is stderr. Blocks.
    package init(path: String?) throws(LogFileError) {
        self.path = path
        descriptor = try path.map { path throws(LogFileError) in try LogFile.open(path) } ?? STDERR_FILENO
    }

    /// Closes a file.
    package func close() { if path != nil { Glibc.close(descriptor) } }
}

/// The writer thread and its buffer. Sendable by its lock: every stored `var` is accessed with `lock` held, except
/// `destination`, which belongs to the writer thread once it runs.
package final class LogWriter: @unchecked Sendable {
    /// About six thousand lines: more than a second of requests at any rate worth logging.
    package static let maximumBufferedBytes = 1024 * 1024
    /// Longest wait of a flush at exit: a pipe without a reader must not keep the process alive.
    package static let flushTimeoutMilliseconds = 2000

    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    /// Signalled when there are lines to write, a file to open anew, or the end.
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
    /// What replaces the destination before the next lines are written.
    private var nextDestination: LogDestination?
    private var isClosed = false
    private var destination: LogDestination
    /// Positions in `formats` and `levels`. Every thread that logs reads them, without the lock.
    private let formatIndex: Atomic<Int>
    private let levelIndex: Atomic<Int>
    private let maximumBufferedBytes: Int
    private var thread = pthread_t()

    /// - Parameter path: the file to append to; nil is stderr.
    /// - Throws: `LogFileError` when the file cannot be opened, or no thread can be started.
    package convenience init(
        path: String?, format: LogFormat = .text, level: LogLevel = .error
    ) throws(LogFileError) {
        try self.init(try LogDestination(path: path), format, level, maximumBufferedBytes: Self.maximumBufferedBytes)
    }

    package init(
        _ destination: LogDestination, _ format: LogFormat = .text, _ level: LogLevel = .error,
        maximumBufferedBytes: Int
    ) throws(LogFileError) {
        self.destination = destination
        formatIndex = Atomic(LogWriter.index(of: format, in: LogWriter.formats))
        levelIndex = Atomic(LogWriter.index(of: level, in: LogWriter.levels))
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

    /// The format of every line, including this writer's own reports.
    package var format: LogFormat {
        get { LogWriter.formats[formatIndex.load(ordering: .relaxed)] }
        set { formatIndex.store(LogWriter.index(of: newValue, in: LogWriter.formats), ordering: .relaxed) }
    }

    /// The least severe level of the loggers that have no level of their own.
    package var level: LogLevel {
        get { LogWriter.levels[levelIndex.load(ordering: .relaxed)] }
        set { levelIndex.store(LogWriter.index(of: newValue, in: LogWriter.levels), ordering: .relaxed) }
    }

    // Made once, since `allCases` makes an array each time.
    private static let formats = LogFormat.allCases
    private static let levels = LogLevel.allCases

    private static func index<Value: Equatable>(of value: Value, in all: [Value]) -> Int {
        // Every value is in the list of its type's cases.
        all.firstIndex(of: value) ?? 0
    }

    /// Reopens the file by its name before the next line, for log rotation. No effect on stderr.
    package func reopen() {
        locked {
            mustReopen = true
            pthread_cond_signal(wakeUp)
        }
    }

    /// Writes to another destination from the next line on; lines that are not yet written go there too.
    package func move(to destination: LogDestination) {
        let unused = locked {
            let unused = nextDestination
            nextDestination = destination
            pthread_cond_signal(wakeUp)
            return unused
        }
        unused?.close()
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
    private var hasWork: Bool { !pending.isEmpty || mustReopen || nextDestination != nil }

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
            throw LogFileError(path: destination.path ?? "log", errorNumber: status)
        }
    }

    private func run() {
        var batch: [UInt8] = []
        batch.reserveCapacity(16 * 1024)
        while let round = nextRound(&batch) {
            if let next = round.next {
                destination.close()
                destination = next
            } else if round.mustReopen {
                reopenFile()
            }
            let lines = batch.count { $0 == UInt8(ascii: "\n") }
            if round.dropped > 0 { batch.append(contentsOf: dropReport(lines: round.dropped)) }
            let isWritten = LogFile.write(batch, to: destination.descriptor)
            finishRound(lost: isWritten ? 0 : lines, unreported: isWritten ? 0 : round.dropped)
        }
        destination.close()
    }

    private struct Round {
        let mustReopen: Bool
        let next: LogDestination?
        let dropped: Int
    }

    /// Swaps the filled buffer for the emptied one, so that neither is reallocated. Nil at the end.
    private func nextRound(_ batch: inout [UInt8]) -> Round? {
        batch.removeAll(keepingCapacity: true)
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        while !hasWork && !isClosed { pthread_cond_wait(wakeUp, lock) }
        guard hasWork else { return nil }
        swap(&batch, &pending)
        defer { (mustReopen, nextDestination, droppedLines, isWriting) = (false, nil, 0, true) }
        return Round(mustReopen: mustReopen, next: nextDestination, dropped: droppedLines)
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
        guard destination.path != nil, let opened = try? LogDestination(path: destination.path) else { return }
        destination.close()
        destination = opened
    }

    private func dropReport(lines: Int) -> [UInt8] {
        format.line(
            milliseconds: LogTimestamp.now(), level: .warning,
            message: "log lines dropped, the log could not be written fast enough",
            metadata: ["lines": .stringConvertible(lines)])
    }
}
