// Disk checks for readiness: whether the disk can be read, has room and can be written to; and the record of writes
// that found no room. A full disk mostly has a few kilobytes left, so writing a small file proves little.

internal import Configuration
internal import Glibc
internal import OCI

/// The result of a disk check.
package struct DiskReport: Sendable, Equatable {
    /// Free bytes of the file system, for an unprivileged process.
    package let freeBytes: Int64
    /// Bytes that must be free before the disk counts as having room again; 0 when no write was refused.
    package var wantedBytes: Int64 = 0
    /// Free inodes; nil where the file system has no fixed number of them.
    package var freeInodes: Int64?

    /// Whether a write was refused for lack of room and there still is not enough. With a limit on free space the free
    /// room can be negative; images are then evicted for the next pull.
    package var isFull: Bool { wantedBytes > 0 && freeBytes < wantedBytes }
    /// Whether the inodes are too few for the files and directories of a new image.
    package var lacksInodes: Bool { freeInodes.map { $0 < Store.leastInodes } ?? false }
}

extension Store {
    /// Bounds for the room that a refused write asks for when there is no budget: this share of the disk, and this
    /// number of bytes. An upstream that claims a blob larger than the disk says nothing about the disk.
    static let wantedShare: Int64 = 20
    static let maximumWantedBytes: Int64 = 1 << 30
    /// Bytes that a disk check writes: a block of every usual file system.
    static let probeBytes = 4096
    /// With fewer free inodes no new image is stored: an image with a single layer needs five files (two blobs,
    /// manifest, tag, and one being written) and up to eleven directories.
    static let leastInodes: Int64 = 16

    /// Records that room for this many bytes was found.
    func noteRoom(for bytes: Int64) {
        if bytes >= roomWantedBytes { roomWantedBytes = 0 }
    }

    /// Checks whether cached content can be read: the directories of content and names.
    /// - Parameter then: gets nil, or why a directory cannot be read.
    package func checkReading(then: @escaping (StoreError?) -> Void) {
        let directories = [layout.blobs, layout.manifests, layout.tags]
        perform({ () throws(StoreError) in
            for directory in directories { try Disk.tryReading(directory: directory) }
        }) { then($0.failure) }
    }

    /// Checks whether new content could be stored: whether there is free space, and whether a small file can be made
    /// and removed.
    package func lookAtDisk(then: @escaping (Result<DiskReport, StoreError>) -> Void) {
        let layout = layout
        perform({ () throws(StoreError) -> DiskSpace in
            let space = try Disk.space(layout.temporary)
            try Disk.tryWriting(layout.probe, bytes: Store.probeBytes)
            return space
        }) { [self] result in
            then(result.map { space in report(space) })
        }
    }

    private func report(_ space: DiskSpace) -> DiskReport {
        let levels = Budget.Levels(usedBytes: usedBytes, freeBytes: space.freeBytes)
        // If the refused write fits into the budget, nothing could be evicted for it, which the operator has to solve.
        let couldFit = mayEvict && roomWantedBytes <= min(limits.budget.maxBytes ?? .max, space.sizeBytes)
        let share = couldFit ? Int64.max : space.sizeBytes / Store.wantedShare
        let report = DiskReport(
            freeBytes: limits.budget.room(levels), wantedBytes: min(roomWantedBytes, share, Store.maximumWantedBytes),
            // A file could be made although the number is 0: the file system does not report inodes.
            freeInodes: space.freeInodes == 0 ? nil : space.freeInodes)
        if !report.isFull { roomWantedBytes = 0 }
        return report
    }
}

/// The size and the free space of a file system.
struct DiskSpace: Sendable {
    let sizeBytes: Int64
    /// Free bytes for an unprivileged process.
    let freeBytes: Int64
    /// Free inodes for an unprivileged process; nil where their number is not fixed (btrfs: `f_files` is 0).
    let freeInodes: Int64?
}

extension DiskSpace {
    /// Reads the result of statvfs(3), which may have any numbers on network and user-space file systems.
    init(_ raw: statvfs) {
        let blockBytes = UInt64(clamping: raw.f_frsize)
        sizeBytes = ContentSize.fileSystemBytes(blocks: UInt64(clamping: raw.f_blocks), blockBytes: blockBytes)
        freeBytes = ContentSize.fileSystemBytes(blocks: UInt64(clamping: raw.f_bavail), blockBytes: blockBytes)
        freeInodes = raw.f_files > 0 ? Int64(clamping: raw.f_favail) : nil
    }
}

extension Disk {
    /// The space of the file system that holds the directory at `path`.
    static func space(_ path: String) throws(StoreError) -> DiskSpace {
        let descriptor = try open(path, O_RDONLY | O_DIRECTORY)
        defer { close(descriptor) }
        return try space(descriptor, path)
    }

    /// Opens a directory and reads its first entry.
    static func tryReading(directory path: String) throws(StoreError) {
        guard let stream = opendir(path) else { throw .from(errno, call: "opendir", path: path) }
        defer { closedir(stream) }
        guard nextName(stream) == nil, errno != 0 else { return }
        throw .from(errno, call: "readdir", path: path)
    }

    /// Makes a file with this many bytes, and removes it.
    static func tryWriting(_ path: String, bytes: Int) throws(StoreError) {
        let descriptor = try open(path, O_WRONLY | O_CREAT | O_TRUNC)
        defer { close(descriptor) }
        do throws(StoreError) {
            try write([UInt8](repeating: 0, count: bytes), to: descriptor, path)
        } catch {
            try? unlink(path)
            throw error
        }
        try unlink(path)
    }
}
