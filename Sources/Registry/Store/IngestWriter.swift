// The half of an ingest that works in the thread pool: the hash, the descriptor, and how far that has got.

internal import Glibc

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

/// Buffers between uses, on the loop: a pull in full flow allocates nothing.
final class BufferPool {
    /// One buffer: large enough that a job's overhead vanishes beside hashing it.
    static let bufferBytes = 256 * 1024
    /// Buffers kept for later while some are in use, 16 MiB: what a few pulls in full flow go round with.
    static let maximumKept = 64
    /// Buffers kept when none is in use.
    static let keptIdle = 8

    private var kept: [IngestBuffer] = []
    private var inUse = 0

    func take() -> IngestBuffer {
        inUse += 1
        return kept.popLast() ?? IngestBuffer(sizeBytes: BufferPool.bufferBytes)
    }

    func give(_ buffer: IngestBuffer) {
        buffer.empty()
        inUse -= 1
        if kept.count < BufferPool.maximumKept { kept.append(buffer) }
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
    /// - Returns: the bytes kept.
    func suspend() throws(StoreError) -> Int64 {
        if offset == 0 { try Disk.unlink(path) }
        // Cutting at the end frees what lies reserved beyond it. If it fails, the next resume hashes whatever is there.
        _ = ftruncate(descriptor, off_t(offset))
        return offset
    }

    /// Removes the file. Its blocks are freed here, in the pool, not when the loop closes the descriptor; who still
    /// reads it finds its end.
    func discard() throws(StoreError) {
        _ = ftruncate(descriptor, 0)
        try Disk.unlink(path)
    }

    /// Gives the file its final name. Fsync first, or a crash could leave the name on bytes that never reached the
    /// disk; fsync of the directory after, or the name itself could be lost after it was reported.
    func publish(as target: String, in directory: String, isKnownDirectory: Bool, root: String) throws(StoreError) {
        do throws(StoreError) { try Disk.sync(descriptor, path) } catch {
            // After a failed fsync the kernel may have dropped the pages and would call the next one a success: these
            // bytes cannot be trusted any more.
            try? Disk.unlink(path)
            throw error
        }
        try Disk.makeDirectories(directory)
        try Disk.rename(path, target)
        if isKnownDirectory {
            try Disk.syncDirectory(directory)
        } else {
            try Disk.syncDirectories(from: directory, upTo: root)
        }
    }
}

/// An ingest's file just opened. The descriptor belongs to whoever receives this.
struct OpenedPartial: Sendable {
    let descriptor: Int32
    let sizeBytes: Int64

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
        try Disk.makeDirectories(layout.partial)
        let descriptor = try Disk.open(path, O_RDWR | O_CREAT)
        do throws(StoreError) {
            return OpenedPartial(descriptor: descriptor, sizeBytes: try Disk.status(of: descriptor, path).sizeBytes)
        } catch {
            close(descriptor)
            throw error
        }
    }

    /// Removes the old file and makes a new, empty one. Who reads the old one keeps its descriptor.
    static func openFresh(_ path: String) throws(StoreError) -> OpenedPartial {
        try Disk.unlink(path)
        return OpenedPartial(descriptor: try Disk.open(path, O_RDWR | O_CREAT | O_EXCL), sizeBytes: 0)
    }
}
