// One server per store. The lock is flock's, which the kernel drops with the process however it ends; what the file
// says is only for the error message of whoever comes second.

internal import Glibc

/// The held lock of a store. Given back by `release` or with the process.
struct StoreLock {
    private let descriptor: Int32

    /// Takes the lock or says who has it.
    init(_ layout: Layout) throws(StoreError) {
        let path = layout.lock
        descriptor = try Disk.open(path, O_RDWR | O_CREAT)
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            let holder = StoreLock.holder(descriptor)
            close(descriptor)
            if code == EWOULDBLOCK { throw .locked(path: path, holder: holder) }
            throw .from(code, call: "flock", path: path)
        }
        // The lock is what counts: a disk too full for the note must not keep the server from serving what it has.
        let note = Array(StoreLock.ownNote(layout).utf8)
        ftruncate(descriptor, 0)
        note.withUnsafeBytes { try? Disk.write($0, to: descriptor, at: 0, path) }
    }

    func release() { close(descriptor) }

    /// Longest note read from another's lock file: a path of the longest kind and the rest.
    private static let maximumNoteBytes = 4096 + 512

    private static func holder(_ descriptor: Int32) -> String {
        let note = withUnsafeTemporaryAllocation(byteCount: maximumNoteBytes, alignment: 1) { buffer -> String in
            let count = (try? Disk.read(descriptor, into: buffer, at: 0, "LOCK")) ?? 0
            return String(decoding: buffer[..<count], as: UTF8.self)
        }
        let lines = note.split(separator: "\n").joined(separator: ", ")
        return lines.isEmpty ? "which has not said who it is" : lines
    }

    /// `pid 123`, `host name`, `started 2026-01-31T12:00:00.000Z`, `admin /path/of/socket`, a line each.
    private static func ownNote(_ layout: Layout) -> String {
        var name = [CChar](repeating: 0, count: Int(HOST_NAME_MAX) + 1)
        gethostname(&name, name.count - 1)
        let host = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        var started: [UInt8] = []
        LogTimestamp.append(LogTimestamp.now(), to: &started)
        let lines = ["pid \(getpid())", "host \(host)", "started \(String(decoding: started, as: UTF8.self))"]
        return (lines + ["admin \(absolute(layout.admin))"]).map { "\($0)\n" }.joined()
    }

    private static func absolute(_ path: String) -> String {
        guard !path.hasPrefix("/"), let directory = getcwd(nil, 0) else { return path }
        defer { free(directory) }
        return "\(String(cString: directory))/\(path)"
    }
}
