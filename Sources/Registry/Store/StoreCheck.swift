// Hashes the store's content again and compares it with its names: what a failing disk, a bad copy or somebody's hand
// has changed shows here, before a client sees it. Blobs are only hashed when they are written, so nobody else would.
//
// Reads in steps, each short enough to be a job among others. Files only ever appear whole, by a rename, and content
// never changes, so that it may run beside a server that serves from them; only setting aside needs the lock, or the
// process that has it (StoreVerification).

internal import Glibc

/// One walk over all blobs and manifests. Used by one thread at a time.
package final class StoreCheck: @unchecked Sendable {
    // @unchecked: handed from job to job, never in two at once.

    /// Bytes hashed in one step: some tens of milliseconds.
    static let stepBytes = 16 * 1024 * 1024
    private static let bufferBytes = 1024 * 1024

    /// A file that is not what its name says.
    struct Fault: Sendable {
        let path: String
        let reason: String
        let digest: Digest
        /// Nil for a blob.
        let type: MediaType?
        /// The file that was hashed; nil when it could not be asked.
        let identity: InodeIdentity?
    }

    private struct Content {
        let path: String
        let digest: Digest
        let type: MediaType?
        let sizeBytes: Int64
    }

    private(set) var progress = VerifyProgress()
    /// What could not be read, in words; it is neither right nor wrong.
    private var unreadable: [String] = []
    private var wrongCount = 0
    /// Why what is wrong is only told; nil when it is set aside.
    private let obstacle: StoreError?
    private let layout: Layout
    private let lock: StoreLock?
    /// Nil until they have been listed. Taken from the end.
    private var waiting: [Content]?
    private var current: (content: Content, descriptor: Int32, hash: ContentHash, offset: Int64)?
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
    }

    /// For the process that has the lock.
    init(heldBy layout: Layout) {
        self.layout = layout
        lock = nil
        obstacle = nil
    }

    deinit {
        if let current { close(current.descriptor) }
        buffer.deallocate()
        lock?.release()
    }

    private func list() -> [Content] {
        var found: [Content] = []
        list(layout.blobs, nil, &found)
        for type in MediaType.allCases { list("\(layout.manifests)/\(type.directoryName)", type, &found) }
        progress.allFiles = found.count
        progress.allBytes = found.saturatedSum(\.sizeBytes)
        return found.reversed()
    }

    private func list(_ directory: String, _ type: MediaType?, _ found: inout [Content]) {
        do throws(StoreError) {
            try ImageScan.forEachContent(in: directory) { (digest, path, status) in
                found.append(Content(path: path, digest: digest, type: type, sizeBytes: status.sizeBytes))
            }
        } catch {
            unreadable.append("\(error)")
        }
    }

    /// What one step came to.
    enum Step: Sendable {
        case right
        case wrong(Fault)
        case end
    }

    /// Lists what there is, then hashes the next bytes. May block.
    func next() -> Step {
        if waiting == nil { waiting = list() }
        var left = StoreCheck.stepBytes
        while left > 0 {
            guard let (content, descriptor, hash, before) = current else {
                guard let content = waiting?.popLast() else { return .end }
                open(content)
                // A walk over ten thousand small files is not one step.
                left -= StoreCheck.bufferBytes / 16
                continue
            }
            let count: Int
            do throws(StoreError) {
                count = try Disk.read(descriptor, into: buffer, at: before, content.path)
            } catch {
                // A sector that cannot be read is as good as one that is wrong.
                return finish(content, descriptor, fault: "cannot be read")
            }
            hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            let offset = before + Int64(count)
            left -= count
            progress.bytes += Int64(count)
            current = (content, descriptor, hash, offset)
            guard count < buffer.count else { continue }
            let isTooLarge = content.type != nil && offset > Manifest.maximumSizeBytes
            let isRight = hash.digest() == content.digest && !isTooLarge
            let step = finish(content, descriptor, fault: isRight ? nil : "hash mismatch")
            if case .wrong = step { return step }
        }
        return .right
    }

    private func open(_ content: Content) {
        do throws(StoreError) {
            let descriptor = try Disk.open(content.path, O_RDONLY)
            current = (content, descriptor, ContentHash(content.digest.algorithm), 0)
        } catch {
            progress.files += 1
            // Pruned, or set aside by the server, since it was listed.
            if !error.isMissing { unreadable.append("\(error)") }
        }
    }

    private func finish(_ content: Content, _ descriptor: Int32, fault reason: String?) -> Step {
        let identity = reason == nil ? nil : try? Disk.status(of: descriptor, content.path).identity
        close(descriptor)
        current = nil
        progress.files += 1
        guard let reason else { return .right }
        return .wrong(
            Fault(path: content.path, reason: reason, digest: content.digest, type: content.type, identity: identity))
    }
}

extension StoreCheck {
    /// Runs all of it in this process, without a server. May block.
    /// - Parameter tell: hears of everything, `ended` last.
    package func run(tell: (VerifyNews) -> Void) {
        while true {
            switch next() {
            case .right: break
            case .wrong(let fault): tell(.wrong(setAside(fault)))
            case .end: return tell(.ended(report(isStopped: false)))
            }
            tell(.progress(progress))
        }
    }

    private func setAside(_ fault: Fault) -> VerifyFinding {
        var target: String?
        if obstacle == nil {
            do throws(StoreError) { target = try layout.setAside(fault.path, reason: fault.reason) } catch {
                unreadable.append("cannot be set aside: \(error)")
            }
        }
        return finding(fault, setAsideTo: target)
    }

    /// What is told of a fault.
    func finding(_ fault: Fault, setAsideTo target: String?) -> VerifyFinding {
        wrongCount += 1
        return VerifyFinding(
            path: layout.relative(fault.path), reason: fault.reason, setAsideTo: target.map(layout.relative))
    }

    func cannotBeSetAside(_ error: StoreError) { unreadable.append("cannot be set aside: \(error)") }

    func report(isStopped: Bool) -> VerifyReport {
        VerifyReport(
            progress: progress, wrongCount: wrongCount, unreadable: unreadable,
            obstacle: obstacle.map { "\($0)" }, isStopped: isStopped)
    }
}

extension Layout {
    /// A path of this store without the store's own.
    fileprivate func relative(_ path: String) -> String {
        String(decoding: path.utf8.dropFirst(root.utf8.count + 1), as: UTF8.self)
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
