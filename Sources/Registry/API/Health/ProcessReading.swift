// This process, as the kernel and the C library account for it: the standard `process_*` metrics (prometheus.io,
// "Writing client libraries") and the heap's, and the allocator's setting, which decides how much of the heap goes back
// to the system. Readings are made in the pool: with ten thousand connections, listing the descriptors takes
// milliseconds.

internal import CLinux
internal import Glibc
internal import OCI

extension ProcessReadings {
    /// The current values. Blocks; a value that cannot be read is 0.
    static func now() -> ProcessReadings {
        var readings = ProcessReadings()
        readings.readUsage()
        readings.readStat()
        readings.readLimits()
        readings.readNetwork()
        readings.openDescriptors = descriptors()
        let heap = linux_heap_usage()
        (readings.heapUsedBytes, readings.heapFreeBytes, readings.heapMappedBytes) = (heap.used, heap.free, heap.mapped)
        return readings
    }

    private mutating func readUsage() {
        var usage = rusage()
        guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return }
        for time in [usage.ru_utime, usage.ru_stime] {
            let seconds = UInt64(clamping: time.tv_sec).multipliedSaturated(by: 1_000_000_000)
            let rest = UInt64(clamping: time.tv_usec).multipliedSaturated(by: 1000)
            cpuNanoseconds = cpuNanoseconds.addingSaturated(seconds).addingSaturated(rest)
        }
    }

    /// Reads proc_pid_stat(5), from the field after the program's name, which is in brackets and may hold any
    /// character.
    private mutating func readStat() {
        guard let text = ProcessReadings.text("/proc/self/stat"), let bracket = text.lastIndex(of: ")") else { return }
        let fields = text[bracket...].split(separator: " ")
        func field(_ number: Int) -> Int64 {
            guard number - 2 < fields.count else { return 0 }
            return OutsideNumber.decimal(fields[number - 2], in: 0...Int64.max) ?? 0
        }
        threads = Int(clamping: field(20))
        virtualBytes = field(23)
        residentBytes = field(24).multipliedSaturated(by: Int64(sysconf(Int32(_SC_PAGESIZE))))
        let ticks = Double(max(1, sysconf(Int32(_SC_CLK_TCK))))
        startSeconds = ProcessReadings.bootSeconds + Double(field(22)) / ticks
    }

    private static var bootSeconds: Double {
        let line = text("/proc/stat")?.split(separator: "\n").first { $0.hasPrefix("btime ") }
        return line.flatMap { Double($0.dropFirst("btime ".count)) } ?? clockBootSeconds
    }

    /// The same by the clocks, where /proc has processes only (ProcSubset= in systemd.exec(5)). Read once: two readings
    /// differ by the time between the two calls.
    private static let clockBootSeconds: Double = {
        func seconds(_ clock: clockid_t) -> Double {
            var time = timespec()
            return clock_gettime(clock, &time) == 0 ? Double(time.tv_sec) + Double(time.tv_nsec) / 1e9 : 0
        }
        return (seconds(CLOCK_REALTIME) - seconds(CLOCK_BOOTTIME)).rounded()
    }()

    private mutating func readLimits() {
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            maximumDescriptors = Int(clamping: limit.rlim_cur)
        }
        if getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0, limit.rlim_cur != rlim_t.max {
            virtualLimitBytes = Int64(clamping: limit.rlim_cur)
        }
    }

    /// Sums all interfaces, loopback included: the counts are the network namespace's, not this process's.
    private mutating func readNetwork() {
        for line in ProcessReadings.text("/proc/self/net/dev")?.split(separator: "\n") ?? [] {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let fields = line[line.index(after: colon)...].split(separator: " ").map {
                OutsideNumber.decimal($0, clampedTo: 0...UInt64.max) ?? 0
            }
            guard fields.count > 8 else { continue }
            receivedBytes &+= fields[0]
            transmittedBytes &+= fields[8]
        }
    }

    private static func descriptors() -> Int {
        guard let stream = opendir("/proc/self/fd") else { return 0 }
        defer { closedir(stream) }
        var count = 0
        while Disk.nextName(stream) != nil { count += 1 }
        // The directory's own descriptor is in the list.
        return count - 1
    }

    /// Reads a file of /proc, whose size is unknown before it has been read.
    private static func text(_ path: String) -> String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        withUnsafeTemporaryAllocation(byteCount: 16 * 1024, alignment: 16) { buffer in
            while case let count = fread(buffer.baseAddress, 1, buffer.count, file), count > 0 {
                bytes.append(contentsOf: buffer[..<count])
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Settings of the allocator (mallopt(3)).
package enum Heap {
    /// Blocks of at least this size are mapped individually, so that freeing one returns its memory to the system at
    /// once: buffers of pulls and of libcurl's transfers.
    static let mappedBytes: Int32 = 128 * 1024

    /// Must be called once, at the start. By default glibc raises this threshold when a large block is freed
    /// (mallopt(3), M_MMAP_THRESHOLD) and then keeps such blocks in the heap: after some pulls it stays megabytes
    /// larger.
    package static func configure() {
        linux_map_from(mappedBytes)
    }
}
