// A file system that is soon full, for tests of full disks.

internal import Foundation
internal import Glibc

/// A tmpfs of a few megabytes, unmounted when the value is released.
package final class SmallDisk {
    package let path: String
    private let directory: TemporaryDirectory

    /// - Parameter inodes: the number of inodes; nil: the kernel's default.
    package init(sizeBytes: Int, inodes: Int? = nil) throws {
        Need.root.expectStated(by: "SmallDisk")
        directory = try TemporaryDirectory()
        path = try directory.directory("disk")
        let options = "size=\(sizeBytes)" + (inodes.map { ",nr_inodes=\($0)" } ?? "")
        guard mount("tmpfs", path, "tmpfs", 0, options) == 0 else {
            throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO)
        }
    }

    deinit { umount2(path, Int32(MNT_DETACH)) }
}
