// The results of `sendfile`. They have more cases than those of other writes, since the file can fail too.

internal import Glibc

extension TCPStream {
    /// The result of `sendFile`.
    package enum SendFileResult {
        /// The kernel took this many bytes; 0 at the end of the file.
        case took(Int)
        /// The socket's buffer is full.
        case full
        /// `sendfile` does not work for this file: the file system, the kernel or a system-call filter refuses it.
        case unsupported
        /// An error of the file or of the connection; reading and sending shows which.
        case failed

        /// sendfile(2): EINVAL where the file system (some network and stacked ones) cannot map the file, EOVERFLOW for
        /// offsets that it cannot take, the others where the call itself is refused.
        private static let refusals: Set<Int32> = [EINVAL, ENOSYS, EOPNOTSUPP, EPERM, EOVERFLOW]

        /// - Parameter code: an `errno` other than EAGAIN and EINTR.
        init(failure code: Int32) { self = SendFileResult.refusals.contains(code) ? .unsupported : .failed }
    }
}
