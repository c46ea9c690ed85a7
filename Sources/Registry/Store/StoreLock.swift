// The lock that allows one server per store. It uses flock, which the kernel releases with the process, however that
// ends. The file's text is only for the error message of a second process.

internal import Glibc

/// The held lock of a store. Released by `release` or at the end of the process.
struct StoreLock {
    private let descriptor: Int32
    /// The replaced file of another user, locked as well: an older release does not check whether its file still has
    /// the name, and could take it for the lock.
    private let former: Int32?

    /// How often the file is opened again after another process has replaced it.
    private static let maximumAttempts = 8

    /// Takes the lock, or throws an error that names its holder.
    init(_ layout: Layout) throws(StoreError) {
        let path = layout.lock
        var former: Int32?
        do throws(StoreError) {
            descriptor = try StoreLock.take(layout, &former)
        } catch {
            if let former { close(former) }
            throw error
        }
        self.former = former
        // A full disk may prevent the note, but must not prevent serving.
        let note = Array(StoreLock.ownNote(layout).utf8)
        ftruncate(descriptor, 0)
        note.withUnsafeBytes { try? Disk.write($0, to: descriptor, at: 0, path) }
    }

    /// Unlocks before it closes: a program that is being started has copies of all descriptors until its exec, and a
    /// lock lasts until the last of them is closed (flock(2)).
    func release() {
        for held in [descriptor, former].compactMap(\.self) {
            flock(held, LOCK_UN)
            close(held)
        }
    }

    /// - Parameter former: gets the descriptor of another user's file that is replaced.
    private static func take(_ layout: Layout, _ former: inout Int32?) throws(StoreError) -> Int32 {
        let path = layout.lock
        for _ in 0..<maximumAttempts {
            let (descriptor, isWritable) = try open(layout)
            do throws(StoreError) {
                try lock(descriptor, path)
                // A file without a name was replaced after it was opened. The replacing process holds its lock, so a
                // locked file that still has its name is the store's lock.
                let isCurrent = try Disk.status(of: descriptor, path).linkCount > 0
                if isCurrent, isWritable { return descriptor }
                if isCurrent, former == nil {
                    // The file was left by another user and is not locked.
                    try Disk.unlink(path)
                    former = descriptor
                    continue
                }
            } catch {
                close(descriptor)
                throw error
            }
            close(descriptor)
        }
        throw .unusable(path: path, reason: "is replaced again and again by other processes")
    }

    /// A file that this user may only read can be locked too (flock(2)).
    private static func open(_ layout: Layout) throws(StoreError) -> (Int32, isWritable: Bool) {
        do throws(StoreError) {
            return (try Disk.create(layout.lock, O_RDWR, layout.group), true)
        } catch {
            guard error.isPermission, let descriptor = try? Disk.open(layout.lock, O_RDONLY) else { throw error }
            return (descriptor, false)
        }
    }

    private static func lock(_ descriptor: Int32, _ path: String) throws(StoreError) {
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            guard code == EWOULDBLOCK else { throw .from(code, call: "flock", path: path) }
            throw .locked(path: path, holder: holder(descriptor))
        }
    }

    /// Longest note read from another's lock file: one path of maximum length and the other lines.
    private static let maximumNoteBytes = 4096 + 512

    private static func holder(_ descriptor: Int32) -> String {
        let note = withUnsafeTemporaryAllocation(byteCount: maximumNoteBytes, alignment: 1) { buffer -> String in
            let count = (try? Disk.read(descriptor, into: buffer, at: 0, "LOCK")) ?? 0
            return String(decoding: buffer[..<count], as: UTF8.self)
        }
        let lines = note.split(separator: "\n").joined(separator: ", ")
        return lines.isEmpty ? "which has not said who it is" : lines
    }

    /// One line each: `pid 123`, `host name`, `started 2026-01-31T12:00:00.000Z`, `admin /path/of/socket`.
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
