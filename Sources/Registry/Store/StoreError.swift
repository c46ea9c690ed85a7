// The store's errors as values: a full or failing disk ends one write or one read, never the process.

internal import Glibc

/// A failure of the store or of the disk under it.
package enum StoreError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Another process (or another store in this one) holds the lock. `holder` is its note in the lock file.
    case locked(path: String, holder: String)
    /// The file system or a quota is full (ENOSPC, EDQUOT).
    case noSpace(call: String, path: String)
    /// Any other error of a system call.
    case system(call: String, path: String, code: Int32)
    /// A file or directory is not usable.
    case unusable(path: String, reason: String)
    /// `commit` was called before the content had been verified against its digest.
    case notVerified
    /// The store is closing, or the ingest has ended already.
    case closed

    /// Classifies an `errno` value.
    static func from(_ code: Int32, call: String, path: String) -> StoreError {
        switch code {
        case ENOSPC, EDQUOT: .noSpace(call: call, path: path)
        default: .system(call: call, path: path, code: code)
        }
    }

    /// Whether the disk or the budget has no room.
    package var isNoSpace: Bool {
        if case .noSpace = self { true } else { false }
    }

    /// Whether the disk accepts no more content: it has no room, or calls fail.
    var meansFullOrFailing: Bool {
        switch self {
        case .noSpace, .system: true
        case .locked, .unusable, .notVerified, .closed: false
        }
    }

    /// Whether the path does not exist.
    var isMissing: Bool {
        if case .system(_, _, let code) = self { code == ENOENT || code == ENOTDIR } else { false }
    }

    /// Whether this user has no permission.
    var isPermission: Bool {
        if case .system(_, _, let code) = self { code == EACCES || code == EPERM } else { false }
    }

    /// Whether content is lost; otherwise a later call may succeed.
    var isDamage: Bool {
        if case .system(_, _, let code) = self { FileFault.unreadable(code).isDamage } else { false }
    }

    package var description: String {
        switch self {
        case .locked(let path, let holder): "\(path): in use by another server (\(holder))"
        case .noSpace(let call, let path): "\(path): \(call): no space left on the disk"
        case .system(let call, let path, let code): "\(path): \(call): \(String(cString: strerror(code)))"
        case .unusable(let path, let reason): "\(path): \(reason)"
        case .notVerified: "the content has not been verified against its digest"
        case .closed: "the store is closing"
        }
    }
}
