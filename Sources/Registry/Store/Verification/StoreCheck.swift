// Hashes the store's content again and compares it with its names: what a failing disk, a bad copy or somebody's hand
// has changed shows here, before a client sees it. Blobs are only hashed when they are written, so nobody else would.
//
// Reads in steps, each short enough to be a job among others. Files only ever appear whole, by a rename, and content
// never changes, so that it may run beside a server that serves from them; only setting aside needs the lock, or the
// process that has it (StoreVerification, StoreScrub).

internal import Glibc
internal import OCI

/// One walk over all blobs and manifests. Used by one thread at a time.
package final class StoreCheck: @unchecked Sendable {
    // @unchecked: handed from job to job, never in two at once.

    /// Bytes hashed in one step: some tens of milliseconds.
    static let stepBytes = 16 * 1024 * 1024
    /// What opening a file counts as, in bytes: a walk over ten thousand small files is not one step.
    static let bytesPerFile = bufferBytes / 16
    private static let bufferBytes = 1024 * 1024

    private(set) var progress = VerifyProgress()
    /// The last file that was gone through, below the store's directory.
    private(set) var position: String
    /// What could not be read, in words; it is neither right nor wrong.
    private var unreadable: [String] = []
    private var wrongCount = 0
    /// Why a fault is only reported; nil when it is set aside.
    private let obstacle: StoreError?
    private let layout: Layout
    private let lock: StoreLock?
    /// Whether the walk runs in the background, without a command that waits for it.
    private let isBackground: Bool
    private var walk: ContentWalk
    /// Whether the sizes are known that a progress is measured by.
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
            // Somebody has it, or this user may not write: both leave reading.
            guard error.leavesReading else { throw error }
            lock = nil
            obstacle = error
        }
        (walk, position, isBackground) = (ContentWalk(layout), "", false)
    }

    /// For the process that has the lock.
    init(heldBy layout: Layout) {
        self.layout = layout
        lock = nil
        obstacle = nil
        (walk, position, isBackground) = (ContentWalk(layout), "", false)
    }

    /// The same in the background: how much there is in all is not looked up.
    /// - Parameter position: the last file that an earlier walk went through; empty to begin with the first.
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

    /// How much there is. What cannot be read shows when the walk comes to it.
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

    /// What one step came to.
    enum Step: Sendable {
        case right
        case wrong(ContentFault)
        case end
    }

    /// Looks how much there is, then hashes the next bytes. May block.
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
            // Not a file: recovery sets it aside at the next start.
            if case .unusable = error { return }
            progress.files += 1
            // Pruned, or set aside by the server, since it was listed.
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
    /// Runs all of it in this process, without a server. May block.
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

    /// What is reported of a fault.
    func finding(_ fault: ContentFault, setAsideTo target: String?) -> VerifyFinding {
        wrongCount += 1
        return VerifyFinding(
            path: layout.relative(fault.path), reason: fault.reason, setAsideTo: target.map(layout.relative))
    }

    func cannotBeSetAside(_ error: StoreError) { unreadable.append("cannot be set aside: \(error)") }

    /// What could not be read since this was asked last, in words.
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
