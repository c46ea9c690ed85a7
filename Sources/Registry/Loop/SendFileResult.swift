// The results of sending a file without copying it: more than those of other writes, since the file can fail too.

internal import Glibc

extension TCPStream {
    /// The result of `sendFile`.
    package enum SendFileResult {
        /// The kernel took this many bytes; 0 when the file ends there.
        case took(Int)
        /// The socket's buffer is full.
        case full
        /// The file system, the kernel or a filter of system calls has no such call for this file.
        case unsupported
        /// An error of the file or of the connection: reading and sending shows which.
        case failed

        /// sendfile(2): EINVAL where the file system cannot map the file, as some network and stacked ones; EOVERFLOW
        /// for offsets that it cannot take; the others where the call itself is refused.
        private static let refusals: Set<Int32> = [EINVAL, ENOSYS, EOPNOTSUPP, EPERM, EOVERFLOW]

        /// - Parameter code: an `errno` that does not pass by itself.
        init(failure code: Int32) { self = SendFileResult.refusals.contains(code) ? .unsupported : .failed }
    }
}
