// Fuzzes image archives: the input is the archive file.

import Glibc
import ImageArchive
import OCI
import Registry

enum ArchiveEntry {
    static func run(_ bytes: UnsafeRawBufferPointer) {
        let path = "\(directory)/ociregistry-fuzz-\(getpid()).tar"
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { fatalError("\(path): errno \(errno)") }
        defer {
            close(descriptor)
            unlink(path)
        }
        guard write(descriptor, bytes.baseAddress, bytes.count) == bytes.count else { fatalError("errno \(errno)") }
        var limits = ArchiveLimits()
        // Small enough that a decompression bomb takes no time.
        limits.freeExpansionBytes = 1 << 20
        guard let archive = try? ImageArchive.open(path, limits: limits) else { return }
        for (_, selection) in archive.selectEach(.all) {
            guard case .success(let selected) = selection else { continue }
            try? archive.readBlobs(selected.blobs.map(\.digest)) { _, _ in }
        }
    }

    /// In memory if possible, since an input is a file only for a moment.
    private static let directory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"
}
