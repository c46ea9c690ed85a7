// The writer: whole lines, in order, bounded when nobody reads, and honest about what it dropped.

import Foundation
import Logging
import TestSupport
import Testing

@testable import Configuration
@testable import Registry

struct LogWriterTests {
    /// Long enough for any machine; nothing here waits for it to pass.
    private static let patienceMilliseconds = 60_000
    private let directory: URL

    init() throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "log-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    }

    private func path(_ name: String) -> String { directory.appending(path: name).path }

    private func lines(_ name: String) throws -> [String] {
        try String(contentsOfFile: path(name), encoding: .utf8).split(separator: "\n").map(String.init)
    }

    private func close(_ writer: LogWriter) {
        writer.close(timeoutMilliseconds: Self.patienceMilliseconds)
    }

    @Test("lines are appended to the file in order") func order() throws {
        try Data("before\n".utf8).write(to: directory.appending(path: "a"))
        let writer = try LogWriter(path: path("a"))
        for index in 0..<1000 { writer.append(Array("line \(index)\n".utf8)) }
        #expect(writer.flush(timeoutMilliseconds: Self.patienceMilliseconds))
        #expect(try lines("a") == ["before"] + (0..<1000).map { "line \($0)" })
        close(writer)
        try FileManager.default.removeItem(at: directory)
    }

    @Test("lines of many threads are written whole") func threads() throws {
        let writer = try LogWriter(path: path("a"))
        DispatchQueue.concurrentPerform(iterations: 8) { thread in
            for index in 0..<500 { writer.append(Array("thread \(thread) line \(index)\n".utf8)) }
        }
        close(writer)
        let expected = (0..<8).flatMap { thread in (0..<500).map { "thread \(thread) line \($0)" } }
        #expect(try lines("a").sorted() == expected.sorted())
        try FileManager.default.removeItem(at: directory)
    }

    @Test("lines beyond the buffer are dropped, counted and reported") func fullBuffer() throws {
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        let (readEnd, writeEnd) = (ends[0], ends[1])
        // A pipe, a batch on its way and a full buffer hold three times this at most; much more is appended.
        let setPipeSize: Int32 = 1031  // F_SETPIPE_SZ, which Glibc shows to C only
        #expect(fcntl(writeEnd, setPipeSize, 4096) == 4096)
        let writer = try LogWriter(LogDestination(descriptor: writeEnd, path: nil), maximumBufferedBytes: 4096)
        for index in 10_000..<20_000 { writer.append(Array("line \(index)\n".utf8)) }

        let reader = PipeReader(readEnd)
        close(writer)
        Foundation.close(writeEnd)
        let received = reader.finish().split(separator: "\n")
        let reports = received.filter { $0.contains("log lines dropped") }
        let dropped = reports.compactMap { $0.split(separator: "=").last.flatMap { Int($0) } }.reduce(0, +)
        #expect(dropped > 5000)
        #expect(writer.droppedLinesTotal == UInt64(dropped))
        #expect(received.count - reports.count + dropped == 10_000)
        #expect(received.allSatisfy { $0.hasPrefix("line 1") || $0.contains(" WARN  log lines dropped") })
    }

    @Test("after a rename and reopen, lines go to a new file") func rotation() throws {
        let writer = try LogWriter(path: path("a"))
        writer.append(Array("one\n".utf8))
        #expect(writer.flush(timeoutMilliseconds: Self.patienceMilliseconds))
        try FileManager.default.moveItem(atPath: path("a"), toPath: path("a.1"))
        writer.reopen()
        writer.append(Array("two\n".utf8))
        close(writer)
        #expect(try lines("a.1") == ["one"])
        #expect(try lines("a") == ["two"])
        try FileManager.default.removeItem(at: directory)
    }

    @Test("lines lost to a full disk are reported after the reopen") func fullDisk() throws {
        try FileManager.default.createSymbolicLink(atPath: path("a"), withDestinationPath: "/dev/full")
        let writer = try LogWriter(path: path("a"))
        writer.append(Array("lost\n".utf8))
        #expect(writer.flush(timeoutMilliseconds: Self.patienceMilliseconds))
        try FileManager.default.removeItem(atPath: path("a"))
        writer.reopen()
        writer.append(Array("kept\n".utf8))
        close(writer)
        let written = try lines("a")
        #expect(written.contains("kept"))
        #expect(written.contains { $0.contains(" WARN  log lines dropped") && $0.hasSuffix(" lines=1") })
        #expect(writer.droppedLinesTotal == 1)
        try FileManager.default.removeItem(at: directory)
    }

    @Test("the level and the format of a writer count for all its loggers at once, and for copies of them")
    func reload() throws {
        let writer = try LogWriter(path: path("a"), level: .warn)
        let logger = Logger(label: "test") { _ in LineLogHandler(writer: writer, now: { 0 }) }
        var quiet = logger
        quiet.logLevel = .notice
        logger.info("hidden")
        writer.level = .info
        #expect(logger.logLevel == .info)
        #expect(quiet.logLevel == .notice, "a level of its own stays")
        logger.info("shown")
        quiet.info("hidden")
        writer.format = .json
        logger.info("shown")
        close(writer)
        #expect(
            try lines("a") == [
                "1970-01-01T00:00:00.000Z INFO  shown",
                #"{"time":"1970-01-01T00:00:00.000Z","level":"info","msg":"shown"}"#,
            ])
        try FileManager.default.removeItem(at: directory)
    }

    @Test("lines go to another destination after a move, and the file before is closed") func move() throws {
        let writer = try LogWriter(path: path("a"))
        writer.append(Array("one\n".utf8))
        #expect(writer.flush(timeoutMilliseconds: Self.patienceMilliseconds))
        let second = try LogDestination(path: path("b"))
        // The third replaces the second before a line is written, so that the second is closed unused.
        writer.move(to: second)
        writer.move(to: try LogDestination(path: path("c")))
        writer.append(Array("two\n".utf8))
        close(writer)
        #expect(try lines("a") == ["one"])
        #expect(try lines("b") + lines("c") == ["two"])
        #expect(fcntl(second.descriptor, F_GETFD) == -1)
        try FileManager.default.removeItem(at: directory)
    }

    @Test("a log file that cannot be opened is an error") func unopenable() {
        #expect(throws: LogFileError.self) { try LogWriter(path: "/nowhere/log") }
    }

    @Test("a disabled level does not evaluate its message") func levels() throws {
        let writer = try LogWriter(path: path("a"), level: .warn)
        var logger = Logger(label: "test") { _ in LineLogHandler(writer: writer, now: { 0 }) }
        logger[metadataKey: "who"] = "me"
        var isFormatted = false
        func formatted() -> String {
            isFormatted = true
            return "x"
        }
        logger.info("\(formatted())")
        logger.warning("shown", metadata: ["k": "v"])
        logger.error("failed", error: LogFileError(path: "p", errorNumber: ENOENT))
        close(writer)
        #expect(!isFormatted)
        #expect(
            try lines("a") == [
                "1970-01-01T00:00:00.000Z WARN  shown k=v who=me",
                "1970-01-01T00:00:00.000Z ERROR failed error=\"p: No such file or directory\" who=me",
            ])
        try FileManager.default.removeItem(at: directory)
    }
}

/// Reads a pipe to its end on a thread of its own.
private final class PipeReader: @unchecked Sendable {
    private let done = DispatchSemaphore(value: 0)
    /// Written by the thread before `done` is signalled, read after it was waited for.
    private var data = Data()

    init(_ descriptor: Int32) {
        Thread.detachNewThread { [self] in
            data = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true).readDataToEndOfFile()
            done.signal()
        }
    }

    func finish() -> String {
        done.wait()
        return String(decoding: data, as: UTF8.self)
    }
}
