// The file of an ingest when it is opened: a new one, or what an earlier pull left.

internal import CLinux
internal import Glibc

/// The file of an ingest, just opened. The receiver owns the descriptor.
struct OpenedPartial: Sendable {
    let descriptor: Int32
    let sizeBytes: Int64
    let device: UInt64

    private init(descriptor: Int32, sizeBytes: Int64, device: UInt64) {
        self.descriptor = descriptor
        self.sizeBytes = sizeBytes
        self.device = device
    }

    /// Takes ownership of the descriptor, and closes it when `fstat` fails.
    init(descriptor: Int32, path: String) throws(StoreError) {
        self.descriptor = descriptor
        do throws(StoreError) {
            let status = try Disk.status(of: descriptor, path)
            (sizeBytes, device) = (status.sizeBytes, status.device)
        } catch {
            close(descriptor)
            throw error
        }
    }

    /// Opens the file of an earlier ingest, or a new one. Anything but a regular file with one name is set aside: a
    /// second name could be a finished blob's, which must never be written to.
    static func open(_ path: String, _ layout: Layout) throws(StoreError) -> OpenedPartial {
        let status: FileStatus?
        do throws(StoreError) { status = try Disk.status(at: path) } catch {
            guard error.isMissing else { throw error }
            status = nil
        }
        if let status, !status.isRegular || status.linkCount != 1 {
            try layout.setAside(path, reason: "not an ordinary file")
        }
        try Disk.makeDirectories(layout.partial, layout.group)
        let descriptor: Int32
        do throws(StoreError) { descriptor = try Disk.create(path, O_RDWR, layout.group) } catch {
            // The file belongs to another user and is not writable by the group.
            guard error.isPermission else { throw error }
            return try openFresh(path, layout)
        }
        let opened = try OpenedPartial(descriptor: descriptor, path: path)
        return opened.isolatingFirstPart(path)
    }

    /// The file without what was written ahead of the rest before the process was killed. Where the rest ends, the file
    /// has a hole; the block before it may be incomplete. What this misses is found when the digest is compared.
    private func isolatingFirstPart(_ path: String) -> OpenedPartial {
        let hole = linux_first_hole(descriptor)
        guard hole >= 0, hole < sizeBytes else { return self }
        let kept = max(0, hole - OpenedPartial.blockBytes)
        guard ftruncate(descriptor, off_t(kept)) == 0 else { return self }
        return OpenedPartial(descriptor: descriptor, sizeBytes: kept, device: device)
    }

    /// The largest block of usual file systems: holes begin at a block's beginning.
    private static let blockBytes: Int64 = 64 * 1024

    /// Removes the old file and makes a new, empty one. Readers of the old file keep its descriptor.
    static func openFresh(_ path: String, _ layout: Layout) throws(StoreError) -> OpenedPartial {
        try Disk.unlink(path)
        return try OpenedPartial(descriptor: Disk.create(path, O_RDWR | O_EXCL, layout.group), path: path)
    }

    /// Size of the file at a path; 0 if there is none.
    static func bytes(at path: String) -> Int64 { (try? Disk.status(at: path))?.sizeBytes ?? 0 }
}
