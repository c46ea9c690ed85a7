// The half of an ingest that works in the thread pool: the hash, the descriptor, and how far that has got.

internal import Glibc
internal import OCI

/// A buffer on its way to the disk. Filled on the loop, then read by a job or two, then back on the loop.
final class IngestBuffer: @unchecked Sendable {
    // Sendable by hand-over: `Ingest` gives it to jobs that only read, and does not touch it until they have completed.
    let memory: UnsafeMutableRawBufferPointer
    private(set) var count = 0

    init(sizeBytes: Int) { memory = .allocate(byteCount: sizeBytes, alignment: 4096) }
    deinit { memory.deallocate() }

    var filled: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory)[..<count]) }
    var isFull: Bool { count == memory.count }

    /// Takes what fits.
    /// - Returns: how many bytes that was.
    func take(_ bytes: UnsafeRawBufferPointer) -> Int {
        let taken = min(bytes.count, memory.count - count)
        let source = UnsafeRawBufferPointer(rebasing: bytes[..<taken])
        UnsafeMutableRawBufferPointer(rebasing: memory[count...]).copyMemory(from: source)
        count += taken
        return taken
    }

    func empty() { count = 0 }
}

/// Buffers between uses, on the loop: a pull in full flow allocates nothing. Those in use are counted in a budget.
final class BufferPool {
    /// One buffer: large enough that a job's overhead vanishes beside hashing it.
    static let bufferBytes = 256 * 1024
    /// Buffers kept for later while some are in use, 16 MiB: what a few pulls in full flow go round with.
    static let maximumKept = 64
    /// Buffers kept when none is in use.
    static let keptIdle = 8

    private let memory: MemoryBudget
    private var kept: [IngestBuffer] = []
    private var inUse = 0

    init(memory: MemoryBudget) { self.memory = memory }

    /// A buffer for these bytes and more. Beyond the budget it is no larger than they are: hundreds of transfers that
    /// are about to pause must not take a whole one each.
    func take(for count: Int) -> IngestBuffer {
        inUse += 1
        let buffer =
            memory.heldBytes < memory.limitBytes
            ? kept.popLast() ?? IngestBuffer(sizeBytes: BufferPool.bufferBytes)
            : IngestBuffer(sizeBytes: min(BufferPool.bufferBytes, max(1, count)))
        memory.hold(buffer.memory.count)
        return buffer
    }

    func give(_ buffer: IngestBuffer) {
        buffer.empty()
        inUse -= 1
        memory.release(buffer.memory.count)
        if kept.count < BufferPool.maximumKept, buffer.memory.count == BufferPool.bufferBytes { kept.append(buffer) }
        if inUse == 0, kept.count > BufferPool.keptIdle { kept.removeLast(kept.count - BufferPool.keptIdle) }
    }
}

/// The hash of what is written, in order.
final class IngestHash: @unchecked Sendable {
    // Sendable by order: only one job at a time touches it. Those of the writer's chain do while no job of the chain
    // for hashing is under way: before there is an ingest (`rehash`), and for short jobs (`Ingest.flush`).
    private let hash: ContentHash

    init(_ algorithm: Digest.Algorithm) { hash = ContentHash(algorithm) }

    func update(_ buffers: [IngestBuffer]) {
        for buffer in buffers { hash.update(buffer.filled) }
    }

    func update(_ bytes: UnsafeRawBufferPointer) { hash.update(bytes) }

    /// The digest of all so far.
    func digest() -> Digest { hash.digest() }
}

/// Writes. The first failure stays: what came after it would leave a gap.
final class IngestWriter: @unchecked Sendable {
    // Sendable by order: only jobs of the ingest's own serial chain touch it, one at a time. The descriptor stays open
    // because each job's completion holds the ingest, which holds the file.

    /// Bytes hashed again in one job when a partial file is resumed: some 50 ms, so that a large one does not keep a
    /// thread of the pool from everybody else.
    static let rehashStepBytes: Int64 = 64 * 1024 * 1024

    let path: String
    private let descriptor: Int32
    let hash: IngestHash
    private var offset: Int64 = 0
    private var failure: StoreError?

    init(descriptor: Int32, path: String, algorithm: Digest.Algorithm) {
        self.descriptor = descriptor
        self.path = path
        hash = IngestHash(algorithm)
    }

    /// Writes the buffers one after the other.
    /// - Returns: the bytes that are now in the file.
    func write(_ buffers: [IngestBuffer]) throws(StoreError) -> Int64 {
        if let failure { throw failure }
        do throws(StoreError) {
            for buffer in buffers {
                try Disk.write(buffer.filled, to: descriptor, at: offset, path)
                offset += Int64(buffer.count)
            }
        } catch {
            failure = error
            throw error
        }
        return offset
    }

    /// Hashes a step of what the file has already.
    /// - Returns: the bytes hashed so far, and whether that is all.
    func rehash() throws(StoreError) -> (offset: Int64, isDone: Bool) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: BufferPool.bufferBytes, alignment: 4096)
        defer { buffer.deallocate() }
        let end = offset + IngestWriter.rehashStepBytes
        while offset < end {
            let count = try Disk.read(descriptor, into: buffer, at: offset, path)
            hash.update(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
            offset += Int64(count)
            if count < buffer.count { return (offset, true) }
        }
        return (offset, false)
    }

    /// Reserves room up to `totalBytes`.
    func reserve(totalBytes: Int64) throws(StoreError) {
        if let failure { throw failure }
        try Disk.reserve(descriptor, offset: offset, length: totalBytes.subtractingSaturated(offset), path)
    }

    /// Whether all that was given is written.
    func check() throws(StoreError) {
        if let failure { throw failure }
    }

    /// Leaves the file for a later resume: what was reserved and not used is given back; a file with nothing in it
    /// goes.
    func suspend() -> IngestEnd {
        if offset == 0 { return remove() }
        // Cutting at the end frees what lies reserved beyond it. If it fails, the next resume hashes whatever is there.
        _ = ftruncate(descriptor, off_t(offset))
        return IngestEnd(keptBytes: offset)
    }

    /// Removes the file. Its blocks are freed here, in the pool, not when the loop closes the descriptor; who still
    /// reads it finds its end.
    func discard() -> IngestEnd {
        if ftruncate(descriptor, 0) == 0 { offset = 0 }
        return remove()
    }

    /// Gives the file its final name. Fsync first, or a crash could leave the name on bytes that never reached the
    /// disk; fsync of the directory after, or the name itself could be lost after it was reported.
    /// A file that is not as long as what was written has been cut off meanwhile, and is removed.
    func publish(as target: String, in directory: String, isKnownDirectory: Bool, layout: Layout) -> IngestEnd {
        do throws(StoreError) {
            try Disk.sync(descriptor, path)
            let sizeBytes = try Disk.status(of: descriptor, path).sizeBytes
            guard sizeBytes == offset else {
                throw .unusable(path: path, reason: "size is \(sizeBytes), not \(offset)")
            }
        } catch {
            // After a failed fsync the kernel may have dropped the pages and would call the next one a success: these
            // bytes cannot be trusted any more.
            var end = remove()
            end.errors.insert(error, at: 0)
            return end
        }
        do throws(StoreError) {
            try Disk.makeDirectories(directory, layout.group)
            try Disk.rename(path, target)
        } catch {
            return IngestEnd(keptBytes: offset, errors: [error])
        }
        do throws(StoreError) {
            if isKnownDirectory {
                try Disk.syncDirectory(directory)
            } else {
                try Disk.syncDirectories(from: directory, upTo: layout.root)
            }
            return IngestEnd(keptBytes: 0, isNamed: true)
        } catch {
            return IngestEnd(keptBytes: 0, isNamed: true, errors: [error])
        }
    }

    private func remove() -> IngestEnd {
        do throws(StoreError) {
            try Disk.unlink(path)
            return IngestEnd(keptBytes: 0)
        } catch {
            return IngestEnd(keptBytes: offset, errors: [error])
        }
    }
}

/// The state of an ingest's file at its end.
struct IngestEnd: Sendable {
    /// Bytes that are still there under the partial file's name.
    var keptBytes: Int64
    /// Whether the content has its final name.
    var isNamed = false
    /// What went wrong, the cause first.
    var errors: [StoreError] = []
}

/// An ingest's file just opened. The descriptor belongs to the receiver.
struct OpenedPartial: Sendable {
    let descriptor: Int32
    let sizeBytes: Int64
    let device: UInt64

    /// Takes the descriptor over, and closes it when the file cannot be asked.
    init(descriptor: Int32, path: String) throws(StoreError) {
        self.descriptor = descriptor
        do throws(StoreError) {
            let status = try Disk.status(of: descriptor, path)
            (sizeBytes, device) = (status.sizeBytes, status.device)
        } catch {
            close(descriptor)
            throw error
        }
    }

    /// Opens what a former ingest left, or a new file. What is there and is not an ordinary file of one name is set
    /// aside: a second name could be a finished blob's, which must never be written to.
    static func open(_ path: String, _ layout: Layout) throws(StoreError) -> OpenedPartial {
        let status: FileStatus?
        do throws(StoreError) { status = try Disk.status(at: path) } catch {
            guard error.isMissing else { throw error }
            status = nil
        }
        if let status, !status.isRegular || status.linkCount != 1 {
            try layout.setAside(path, reason: "not an ordinary file")
        }
        try Disk.makeDirectories(layout.partial, layout.group)
        let descriptor: Int32
        do throws(StoreError) { descriptor = try Disk.create(path, O_RDWR, layout.group) } catch {
            // Another user's, and not writable by the group.
            guard error.isPermission else { throw error }
            return try openFresh(path, layout)
        }
        return try OpenedPartial(descriptor: descriptor, path: path)
    }

    /// Removes the old file and makes a new, empty one. Who reads the old one keeps its descriptor.
    static func openFresh(_ path: String, _ layout: Layout) throws(StoreError) -> OpenedPartial {
        try Disk.unlink(path)
        return try OpenedPartial(descriptor: Disk.create(path, O_RDWR | O_EXCL, layout.group), path: path)
    }

    /// Bytes under a path now; 0 where nothing is.
    static func bytes(at path: String) -> Int64 { (try? Disk.status(at: path))?.sizeBytes ?? 0 }
}
