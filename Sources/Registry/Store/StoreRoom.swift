// Whether the disk has room and can be written to: what the readiness check asks, and what the store remembers of
// writes that found none. A full disk mostly has a few kilobytes left, so a small file that can be written proves
// little.

internal import Glibc

/// What a look at the disk found.
package struct DiskReport: Sendable, Equatable {
    /// Of the file system, for an unprivileged process.
    package let freeBytes: Int64
    /// What must be free before the disk counts as having room again; 0 when nothing was refused.
    package var wantedBytes: Int64 = 0

    /// Whether a write was refused for want of room, and there still is not enough.
    package var isFull: Bool { freeBytes < wantedBytes }
}

extension Store {
    /// Without a budget, a refused write asks for no more room than this share of the disk, and never for more than so
    /// many bytes: an upstream that claims a blob larger than the disk says nothing of the disk.
    static let wantedShare: Int64 = 20
    static let maximumWantedBytes: Int64 = 1 << 30
    /// What a look at the disk writes: a block of every usual file system.
    static let probeBytes = 4096

    /// Room for so many bytes has been found.
    func noteRoom(for bytes: Int64) {
        if bytes >= roomWantedBytes { roomWantedBytes = 0 }
    }

    /// Looks at the disk: at its free space and, where it `writes`, at whether a small file can be made and removed.
    package func lookAtDisk(writes: Bool, then: @escaping (Result<DiskReport, StoreError>) -> Void) {
        let layout = layout
        perform({ () throws(StoreError) -> DiskSpace in
            let space = try Disk.space(layout.temporary)
            if writes { try Disk.tryWriting(layout.probe, bytes: Store.probeBytes) }
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
            freeBytes: limits.budget.room(levels), wantedBytes: min(roomWantedBytes, share, Store.maximumWantedBytes))
        if !report.isFull { roomWantedBytes = 0 }
        return report
    }
}

/// A file system's size, and what of it is free.
struct DiskSpace: Sendable {
    let sizeBytes: Int64
    /// For an unprivileged process.
    let freeBytes: Int64
}

extension Disk {
    /// Of the file system that has the directory at `path`.
    static func space(_ path: String) throws(StoreError) -> DiskSpace {
        let descriptor = try open(path, O_RDONLY | O_DIRECTORY)
        defer { close(descriptor) }
        return try space(descriptor, path)
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
