// Hashes the store's content again and compares it with its names: what a failing disk, a bad copy or somebody's hand
// has changed shows here, before a client sees it. Blobs are only hashed when they are written, so nobody else would.
//
// Reads in steps, each short enough to be a job among others. Files only ever appear whole, by a rename, and content
// never changes, so that it may run beside a server that serves from them; only setting aside needs the lock.

internal import Glibc

/// One walk over all blobs and manifests. Used by one thread at a time.
package final class StoreCheck: @unchecked Sendable {
    // @unchecked: handed from job to job, never in two at once.

    /// Bytes hashed in one step: some tens of milliseconds.
    static let stepBytes = 16 * 1024 * 1024
    private static let bufferBytes = 1024 * 1024

    /// Something wrong.
    package struct Finding: Sendable, Equatable, CustomStringConvertible {
        package let path: String
        package let reason: String
        /// Where it is now; nil when it was left where it is.
        package let setAsideTo: String?

        package var description: String {
            "\(path): \(reason)" + (setAsideTo.map { "; set aside as \($0)" } ?? "; left where it is")
        }
    }

    package struct Progress: Sendable, Equatable {
        package var files = 0
        package var bytes: Int64 = 0
        /// What the walk found when it began.
        package var allFiles = 0
        package var allBytes: Int64 = 0
    }

    private struct Content {
        let path: String
        let digest: Digest
        let sizeBytes: Int64
        let limitBytes: Int64
    }

    package private(set) var progress = Progress()
    /// What could not be read, in words; it is neither right nor wrong.
    package private(set) var unreadable: [String] = []
    /// Why what is wrong is only told; nil when it is set aside.
    package let obstacle: StoreError?
    private let layout: Layout
    private let lock: StoreLock?
    private var waiting: [Content] = []
    private var current: (content: Content, descriptor: Int32, hash: ContentHash, offset: Int64)?
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferBytes, alignment: 64)

    /// Takes the store's lock if it is free, and lists what there is to hash.
    /// - Throws: when there is no store, or it cannot be read.
    package init(imagePath: String) throws(StoreError) {
        layout = Layout(imagePath: imagePath)
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
        list()
    }

    deinit {
        if let current { close(current.descriptor) }
        buffer.deallocate()
        lock?.release()
    }

    private func list() {
        ImageScan.forEachContent(in: layout.blobs) { digest, path, status in
            waiting.append(Content(path: path, digest: digest, sizeBytes: status.sizeBytes, limitBytes: .max))
        }
        for type in MediaType.allCases {
            ImageScan.forEachContent(in: "\(layout.manifests)/\(type.directoryName)") { digest, path, status in
                waiting.append(
                    Content(
                        path: path, digest: digest, sizeBytes: status.sizeBytes,
                        limitBytes: Int64(Manifest.maximumSizeBytes)))
            }
        }
        progress.allFiles = waiting.count
        progress.allBytes = waiting.reduce(0) { $0 + $1.sizeBytes }
        // Taken from the end.
        waiting.reverse()
    }

    /// What one step came to.
    package enum Step: Sendable, Equatable {
        case right
        case wrong(Finding)
        case end
    }

    /// Hashes the next bytes. May block.
    package func next() -> Step {
        var left = StoreCheck.stepBytes
        while left > 0 {
            guard let (content, descriptor, hash, before) = current else {
                guard let content = waiting.popLast() else { return .end }
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
            let isRight = hash.digest() == content.digest && offset <= content.limitBytes
            let step = finish(content, descriptor, fault: isRight ? nil : "hash mismatch")
            if step != .right { return step }
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

    private func finish(_ content: Content, _ descriptor: Int32, fault: String?) -> Step {
        close(descriptor)
        current = nil
        progress.files += 1
        guard let fault else { return .right }
        guard obstacle == nil else { return .wrong(Finding(path: content.path, reason: fault, setAsideTo: nil)) }
        do throws(StoreError) {
            let target = try layout.setAside(content.path, reason: fault)
            return .wrong(Finding(path: content.path, reason: fault, setAsideTo: target))
        } catch {
            unreadable.append("cannot be set aside: \(error)")
            return .wrong(Finding(path: content.path, reason: fault, setAsideTo: nil))
        }
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
