// Processor time, from the kernel's own counts.

import Glibc
import Registry

enum ProcessorTime {
    /// The current processor time of the driver, the server and the upstream, and the stolen time.
    static func now(server: Int32?, upstream: Int32?) -> Usage {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        let own = [usage.ru_utime, usage.ru_stime].map { Double($0.tv_sec) + Double($0.tv_usec) / 1e6 }
        return Usage(
            seconds: Double(EventLoop.nowNanoseconds) / 1e9, driver: own[0] + own[1],
            server: server.flatMap(process), upstream: upstream.flatMap(process), stolen: stolen())
    }

    /// User and system time of a process (proc(5), `/proc/pid/stat`, fields 14 and 15); nil when it does not exist.
    static func process(_ id: Int32) -> Double? {
        // The program's name, in parentheses, may hold any character; the fields after it do not.
        guard let text = read("/proc/\(id)/stat"), let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[end...].split(separator: " ")
        guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else { return nil }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// Time that the hypervisor gave to other machines (proc(5), `/proc/stat`, the eighth number).
    private static func stolen() -> Double? {
        let fields = read("/proc/stat")?.prefix { $0 != "\n" }.split(separator: " ")
        guard let fields, fields.count > 8, let ticks = Double(fields[8]) else { return nil }
        return ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    private static func read(_ path: String) -> String? { TextFile.read(path, maximumBytes: 64 * 1024) }
}

enum TextFile {
    /// The file's text, at most `maximumBytes`; nil when it cannot be read.
    static func read(_ path: String, maximumBytes: Int = .max) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 * 1024)
        while bytes.count < maximumBytes {
            let count = fread(&chunk, 1, min(chunk.count, maximumBytes - bytes.count), file)
            guard count > 0 else { break }
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
