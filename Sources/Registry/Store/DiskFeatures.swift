// What the file system of a store can do. Without these calls the server works, and is slower or less careful with the
// disk; `doctor` says so.

internal import CLinux
internal import Glibc

/// The calls that a file system knows.
struct DiskFeatures: Sendable {
    /// fallocate(2): room is reserved before a blob is written, so a full disk is noticed at once.
    var reserves = false
    /// sendfile(2): blobs are sent without copying them.
    var sendsFiles = false

    private static let sampleBytes = 4096

    /// Tries the calls with a file at `path`, which is removed again. Blocks.
    static func of(_ path: String) throws(StoreError) -> DiskFeatures {
        let descriptor = try Disk.open(path, O_RDWR | O_CREAT | O_EXCL)
        defer {
            close(descriptor)
            try? Disk.unlink(path)
        }
        var features = DiskFeatures()
        features.reserves = linux_reserve(descriptor, 0, Int64(sampleBytes)) == 0 || !isRefusal(errno)
        try Disk.write([UInt8](repeating: 0, count: sampleBytes), to: descriptor, path)
        let sink = try Disk.open("/dev/null", O_WRONLY)
        defer { close(sink) }
        var position: off_t = 0
        features.sendsFiles = sendfile(sink, descriptor, &position, sampleBytes) >= 0 || !isRefusal(errno)
        return features
    }
}

extension DiskFeatures {
    /// Whether an error says that there is no such call for this file, and not that the disk is full or busy.
    private static func isRefusal(_ code: Int32) -> Bool { [EOPNOTSUPP, ENOSYS, EINVAL, EPERM].contains(code) }
}

extension Store {
    /// Finds out what the store's file system can do.
    func findFeatures(then: @escaping (Result<DiskFeatures, StoreError>) -> Void) {
        // After a reload there may be two at once.
        let path = "\(layout.probe)-\(UInt64.random(in: .min ... .max))"
        perform({ () throws(StoreError) in try DiskFeatures.of(path) }, then: then)
    }
}
