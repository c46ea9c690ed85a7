// Notices that the configuration file has changed (`reloadOnChange`), for those who cannot run a command where the
// server runs: a file of a Kubernetes ConfigMap is replaced by the kubelet.

import Configuration
import Glibc
import Registry

/// What tells one content of a file from another, symbolic links followed: the kubelet replaces a link to a directory.
struct FileIdentity: Equatable, Sendable {
    private let device: UInt64
    private let inode: UInt64
    private let modified: [Int]
    let sizeBytes: Int64

    /// Nil where there is no file: it is just being replaced, or will come back.
    init?(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        device = UInt64(clamping: status.st_dev)
        inode = UInt64(clamping: status.st_ino)
        sizeBytes = Int64(clamping: status.st_size)
        modified = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
    }
}

/// Decides when a file is read again. A pure value: one look after another goes in.
struct ChangeDetector {
    /// Looks between two attempts at a file that was refused: a file that it names may come later, such as a Secret's.
    static let looksBetweenAttempts = 12

    private var used: FileIdentity?
    private var latest: FileIdentity?
    private var looksToWait = 0

    /// - Parameter used: the content that is in use; nil: unknown, so that the file is read once.
    init(used: FileIdentity?) { self.used = used }

    /// Whether to read the file now: it differs from the one in use, and was the same at the last look. One that is
    /// being written changes between looks, and one without content is not finished.
    mutating func shouldRead(_ found: FileIdentity?) -> Bool {
        defer { latest = found }
        guard let found, found != used, found.sizeBytes > 0 else { return false }
        guard found == latest else {
            looksToWait = 0
            return false
        }
        guard looksToWait == 0 else {
            looksToWait -= 1
            return false
        }
        return true
    }

    /// Records the outcome of reading what the last look has found.
    mutating func hasRead(_ found: FileIdentity, isInUse: Bool) {
        if isInUse { used = found } else { looksToWait = ChangeDetector.looksBetweenAttempts }
    }
}

/// Looks at a file at intervals. Must be used on the loop only.
final class ConfigWatch {
    /// A stat(2) costs next to nothing; the kubelet takes a minute.
    static let milliseconds: UInt64 = 5_000

    typealias Reload = (_ completion: @escaping (_ isInUse: Bool) -> Void) -> Void

    private let path: String
    private let offload: Offload
    private let reload: Reload
    private var detector: ChangeDetector
    private var timer: Timer?
    private var isBusy = false

    /// - Parameters:
    ///   - used: the file when it was read; nil: unknown.
    ///   - reload: reads the file again, and says whether it is in use now.
    init(_ path: String, used: FileIdentity?, on loop: EventLoop, offload: Offload, reload: @escaping Reload) {
        self.path = path
        self.offload = offload
        self.reload = reload
        detector = ChangeDetector(used: used)
        let timer = Timer(on: loop) { [unowned self] in look() }
        timer.start(afterMilliseconds: ConfigWatch.milliseconds, everyMilliseconds: ConfigWatch.milliseconds)
        timer.unreference()
        self.timer = timer
    }

    func close() {
        timer?.close()
        timer = nil
    }

    private func look() {
        guard !isBusy else { return }
        isBusy = true
        offload.run { [path] in
            FileIdentity(path)
        } then: { [self] (result: Result<FileIdentity?, any Error>) in
            isBusy = false
            guard timer != nil, case .success(let found) = result, detector.shouldRead(found), let found else { return }
            isBusy = true
            reload { [self] isInUse in
                isBusy = false
                detector.hasRead(found, isInUse: isInUse)
            }
        }
    }
}
