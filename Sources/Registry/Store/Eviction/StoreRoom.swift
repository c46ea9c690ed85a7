// Whether the disk can be read, and whether it has room and can be written to: what the readiness checks ask, and what
// the store remembers of writes that found no room. A full disk mostly has a few kilobytes left, so being able to write
// a small file proves little.

internal import Configuration
internal import Glibc
internal import OCI

/// What a look at the disk found.
package struct DiskReport: Sendable, Equatable {
    /// Of the file system, for an unprivileged process.
    package let freeBytes: Int64
    /// What must be free before the disk counts as having room again; 0 when nothing was refused.
    package var wantedBytes: Int64 = 0
    /// Files and directories that can still be made; nil where the file system has no fixed number of them.
    package var freeInodes: Int64?

    /// Whether a write was refused for want of room, and there still is not enough. With a limit on free space, less
    /// than nothing may be free: images leave for the next pull then.
    package var isFull: Bool { wantedBytes > 0 && freeBytes < wantedBytes }
    /// Whether a new image could not have its files and directories.
    package var lacksInodes: Bool { freeInodes.map { $0 < Store.leastInodes } ?? false }
}

extension Store {
    /// Without a budget, a refused write asks for no more room than this share of the disk, and never for more than so
    /// many bytes: an upstream that claims a blob larger than the disk says nothing of the disk.
    static let wantedShare: Int64 = 20
    static let maximumWantedBytes: Int64 = 1 << 30
    /// What a look at the disk writes: a block of every usual file system.
    static let probeBytes = 4096
    /// With fewer inodes than these no new image is stored: one of a single layer takes five files (two blobs,
    /// manifest, tag, and one that is being written) and up to eleven directories for them.
    static let leastInodes: Int64 = 16

    /// Room for so many bytes has been found.
    func noteRoom(for bytes: Int64) {
        if bytes >= roomWantedBytes { roomWantedBytes = 0 }
    }

    /// Looks whether what is cached can be read: the directories that content and names are in.
    /// - Parameter then: given nil, or why one of them cannot be read.
    package func checkReading(then: @escaping (StoreError?) -> Void) {
        let directories = [layout.blobs, layout.manifests, layout.tags]
        perform({ () throws(StoreError) in
            for directory in directories { try Disk.tryReading(directory: directory) }
        }) { then($0.failure) }
    }

    /// Looks whether something new could be stored: at the free space, and at whether a small file can be made and
    /// removed.
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
        // Within a budget that could hold it, what was refused found nothing that may leave: that is for the operator.
        let couldFit = mayEvict && roomWantedBytes <= min(limits.budget.maxBytes ?? .max, space.sizeBytes)
        let share = couldFit ? Int64.max : space.sizeBytes / Store.wantedShare
        let report = DiskReport(
            freeBytes: limits.budget.room(levels), wantedBytes: min(roomWantedBytes, share, Store.maximumWantedBytes),
            // None, and yet a file could be made: the file system does not know the number.
            freeInodes: space.freeInodes == 0 ? nil : space.freeInodes)
        if !report.isFull { roomWantedBytes = 0 }
        return report
    }
}

/// A file system's size, and what of it is free.
struct DiskSpace: Sendable {
    let sizeBytes: Int64
    /// For an unprivileged process.
    let freeBytes: Int64
    /// For an unprivileged process; nil where the file system has no fixed number of them (btrfs: `f_files` is 0).
    let freeInodes: Int64?
}

extension DiskSpace {
    /// What statvfs(3) reports: on network and user-space file systems, any numbers.
    init(_ raw: statvfs) {
        let blockBytes = UInt64(clamping: raw.f_frsize)
        sizeBytes = ContentSize.fileSystemBytes(blocks: UInt64(clamping: raw.f_blocks), blockBytes: blockBytes)
        freeBytes = ContentSize.fileSystemBytes(blocks: UInt64(clamping: raw.f_bavail), blockBytes: blockBytes)
        freeInodes = raw.f_files > 0 ? Int64(clamping: raw.f_favail) : nil
    }
}

extension Disk {
    /// Of the file system that has the directory at `path`.
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

    /// Makes a file of so many bytes, and removes it.
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
