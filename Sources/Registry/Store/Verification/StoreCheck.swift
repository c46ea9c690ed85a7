// Verification: hashes the store's content again and compares it with the names, to find changes by a failing disk, a
// bad copy or other programs before a client gets them. Blobs are otherwise hashed only when they are written.
//
// It reads in steps that are short enough for the pool. Files only appear complete, by a rename, and content never
// changes, so it can run beside a server that serves from them. Only setting aside needs the lock, or the process that
// holds it (StoreVerification, StoreScrub).

internal import Glibc
internal import OCI

/// One walk over all blobs and manifests. Only one thread may use it at a time.
package final class StoreCheck: @unchecked Sendable {
    // @unchecked: passed from job to job, never used by two at once.

    /// Bytes hashed in one step, which takes some tens of milliseconds.
    static let stepBytes = 16 * 1024 * 1024
    /// Bytes that opening a file counts as, so that ten thousand small files are not one step.
    static let bytesPerFile = bufferBytes / 16
    private static let bufferBytes = 1024 * 1024

    private(set) var progress = VerifyProgress()
    /// The last file that was checked, relative to the store's directory.
    private(set) var position: String
    /// Errors of files that could not be read, as text; such files count as neither right nor wrong.
    private var unreadable: [String] = []
    private var wrongCount = 0
    /// Why damaged files are only reported; nil when they are set aside.
    private let obstacle: StoreError?
    private let layout: Layout
    private let lock: StoreLock?
    /// Whether the walk runs in the background, without a command that waits for it.
    private let isBackground: Bool
    private var walk: ContentWalk
    /// Whether the total sizes for progress reports are known.
    private var hasSizes = false
    private var current: ContentCheck?
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferBytes, alignment: 64)

    /// Takes the store's lock if it is free.
    /// - Throws: when there is no store, or it cannot be read.
    package init(imagePath: String) throws(StoreError) {
        var layout = Layout(imagePath: imagePath)
        layout.group = GroupAccess(of: imagePath)
        self.layout = layout
        guard try Disk.status(at: layout.root).isDirectory else {
            throw .unusable(path: layout.root, reason: "not a directory")
        }
        do throws(StoreError) {
            lock = try StoreLock(layout)
            obstacle = nil
        } catch {
            // Another process holds the lock, or this user may not write; both still allow reading.
            guard error.leavesReading else { throw error }
            lock = nil
            obstacle = error
        }
        (walk, position, isBackground) = (ContentWalk(layout), "", false)
    }

    /// Makes a check in the process that holds the lock.
    init(heldBy layout: Layout) {
        self.layout = layout
        lock = nil
        obstacle = nil
        (walk, position, isBackground) = (ContentWalk(layout), "", false)
    }

    /// Makes a background check, which does not compute the total size.
    /// - Parameter position: the last file that an earlier walk checked; empty to start at the beginning.
    init(inBackgroundOf layout: Layout, after position: String) {
        self.layout = layout
        self.position = position
        lock = nil
        obstacle = nil
        (walk, hasSizes, isBackground) = (ContentWalk(layout, after: position), true, true)
    }

    deinit {
        buffer.deallocate()
        lock?.release()
    }

    /// Computes the total size. Directories that cannot be read are reported later by the walk.
    private func measure() {
        hasSizes = true
        let directories = [layout.blobs] + MediaType.allCases.map { "\(layout.manifests)/\($0.directoryName)" }
        for directory in directories {
            try? ImageScan.forEachContent(in: directory) { _, _, status in
                progress.allFiles += 1
                progress.allBytes = progress.allBytes.addingSaturated(status.sizeBytes)
            }
        }
    }

    /// The result of one step.
    enum Step: Sendable {
        case right
        case wrong(ContentFault)
        case end
    }

    /// Computes the total size at the first call, then hashes the next bytes. May block.
    func next(_ stepBytes: Int = StoreCheck.stepBytes) -> Step {
        if !hasSizes { measure() }
        var left = stepBytes
        while left > 0 {
            guard let check = current else {
                let content = walk.next()
                unreadable += walk.takeUnreadable().map { "\($0)" }
                guard let content else { return .end }
                open(content)
                left -= StoreCheck.bytesPerFile
                continue
            }
            let before = check.offset
            let verdict = check.step(left, buffer)
            let count = check.offset - before
            left -= Int(count)
            progress.bytes += count
            guard let verdict else { continue }
            ended(check.content)
            switch verdict {
            case .right: break
            case .wrong(let fault): return .wrong(fault)
            case .unknown(let error): unreadable.append("\(error)")
            }
        }
        return .right
    }

    private func open(_ content: StoredContent) {
        do throws(StoreError) {
            current = try ContentCheck(content, isBackground: isBackground)
        } catch {
            position = layout.relative(content.path)
            // Not a regular file: recovery sets it aside at the next start.
            if case .unusable = error { return }
            progress.files += 1
            // A missing file was pruned, or set aside by the server, since it was listed.
            if !error.isMissing { unreadable.append("\(error)") }
        }
    }

    private func ended(_ content: StoredContent) {
        current = nil
        progress.files += 1
        position = layout.relative(content.path)
    }
}

extension StoreCheck {
    /// Runs the whole check in this process, without a server. May block.
    /// - Parameter emit: called with every event, `ended` last.
    package func run(emit: (VerifyEvent) -> Void) {
        while true {
            switch next() {
            case .right: break
            case .wrong(let fault): emit(.wrong(setAside(fault)))
            case .end: return emit(.ended(report(isStopped: false)))
            }
            emit(.progress(progress))
        }
    }

    private func setAside(_ fault: ContentFault) -> VerifyFinding {
        var target: String?
        if obstacle == nil {
            do throws(StoreError) { target = try layout.setAside(fault.path, reason: fault.reason) } catch {
                unreadable.append("cannot be set aside: \(error)")
            }
        }
        return finding(fault, setAsideTo: target)
    }

    /// Counts a fault, and makes its report.
    func finding(_ fault: ContentFault, setAsideTo target: String?) -> VerifyFinding {
        wrongCount += 1
        return VerifyFinding(
            path: layout.relative(fault.path), reason: fault.reason, setAsideTo: target.map(layout.relative))
    }

    func cannotBeSetAside(_ error: StoreError) { unreadable.append("cannot be set aside: \(error)") }

    /// The read errors since the last call, as text.
    func takeUnreadable() -> [String] {
        defer { unreadable = [] }
        return unreadable
    }

    func report(isStopped: Bool) -> VerifyReport {
        VerifyReport(
            progress: progress, wrongCount: wrongCount, unreadable: unreadable,
            obstacle: obstacle.map { "\($0)" }, isStopped: isStopped)
    }
}

extension StoreError {
    /// Whether a store that cannot be locked for this reason can still be read.
    fileprivate var leavesReading: Bool {
        switch self {
        case .locked: true
        case .system(_, _, let code): code == EACCES || code == EROFS || code == EPERM
        default: false
        }
    }
}
