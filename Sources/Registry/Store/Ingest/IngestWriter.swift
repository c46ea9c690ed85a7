// The part of an ingest that runs in the thread pool: the descriptor, the hash, and the progress.

internal import Glibc
internal import OCI

/// A buffer on its way to the disk: filled on the loop, read by one or two jobs, then reused on the loop.
final class IngestBuffer: @unchecked Sendable {
    // Sendable by hand-over: `Ingest` passes it to jobs that only read, and does not touch it until they have
    // completed.
    let memory: UnsafeMutableRawBufferPointer
    private(set) var count = 0

    init(sizeBytes: Int) { memory = .allocate(byteCount: sizeBytes, alignment: 4096) }
    deinit { memory.deallocate() }

    var filled: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory)[..<count]) }
    var isFull: Bool { count == memory.count }

    /// Copies the bytes that fit.
    /// - Returns: their number.
    func take(_ bytes: UnsafeRawBufferPointer) -> Int {
        let taken = min(bytes.count, memory.count - count)
        let source = UnsafeRawBufferPointer(rebasing: bytes[..<taken])
        UnsafeMutableRawBufferPointer(rebasing: memory[count...]).copyMemory(from: source)
        count += taken
        return taken
    }

    func empty() { count = 0 }
}

/// Reusable buffers, on the loop: a pull at full speed allocates nothing. Buffers in use count in a memory budget.
final class BufferPool {
    /// Size of a buffer: large enough that a job's overhead is negligible compared with hashing it.
    static let bufferBytes = 256 * 1024
    /// Spare buffers kept while some are in use, 16 MiB: enough for a few pulls at full speed.
    static let maximumKept = 64
    /// Spare buffers kept when none is in use.
    static let keptIdle = 8

    private let memory: MemoryBudget
    private var kept: [IngestBuffer] = []
    private var inUse = 0

    init(memory: MemoryBudget) { self.memory = memory }

    /// A buffer for these bytes and more. Beyond the budget it is no larger than the bytes: hundreds of transfers that
    /// are about to pause must not take a whole buffer each.
    func take(for count: Int) -> IngestBuffer {
        inUse += 1
        let buffer =
            memory.heldBytes < memory.limitBytes
            ? kept.popLast() ?? IngestBuffer(sizeBytes: BufferPool.bufferBytes)
            : IngestBuffer(sizeBytes: min(BufferPool.bufferBytes, max(1, count)))
        memory.hold(buffer.memory.count)
        return buffer
    }

    /// Copies bytes into buffers: first into `filling`, which moves to `full` when it is full.
    func copy(_ bytes: UnsafeRawBufferPointer, into filling: inout IngestBuffer?, _ full: inout [IngestBuffer]) {
        var rest = bytes
        while !rest.isEmpty {
            let buffer = filling ?? take(for: rest.count)
            filling = buffer
            rest = UnsafeRawBufferPointer(rebasing: rest[buffer.take(rest)...])
            if buffer.isFull {
                full.append(buffer)
                filling = nil
            }
        }
    }

    func give(_ buffer: IngestBuffer) {
        buffer.empty()
        inUse -= 1
        memory.release(buffer.memory.count)
        if kept.count < BufferPool.maximumKept, buffer.memory.count == BufferPool.bufferBytes { kept.append(buffer) }
        if inUse == 0, kept.count > BufferPool.keptIdle { kept.removeLast(kept.count - BufferPool.keptIdle) }
    }
}

/// The hash of the written bytes, in order.
final class IngestHash: @unchecked Sendable {
    // Sendable by order: only one job at a time touches it. Jobs of the writing chain touch it only while no job of the
    // hashing chain runs: before there is an ingest (`rehash`), and for short jobs (`Ingest.flush`).
    private let hash: ContentHash

    init(_ algorithm: Digest.Algorithm) { hash = ContentHash(algorithm) }

    func update(_ buffers: [IngestBuffer]) {
        for buffer in buffers { hash.update(buffer.filled) }
    }

    func update(_ bytes: UnsafeRawBufferPointer) { hash.update(bytes) }

    /// The digest of all bytes so far.
    func digest() -> Digest { hash.digest() }
}

/// Writes to the file. After the first failure all calls fail, since later bytes would leave a gap.
final class IngestWriter: @unchecked Sendable {
    // Sendable by order: only jobs of the ingest's own serial chain touch it, one at a time. The descriptor stays open
    // because each job's completion retains the ingest, which retains the file.

    /// Bytes hashed again in one job when a partial file is resumed: some 50 ms, so that a large file does not occupy a
    /// thread of the pool for long.
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

    /// Writes the buffers in order.
    /// - Returns: the number of bytes in the file now.
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

    /// Writes the buffers in order, at another place than the rest. A failure concerns only them.
    /// - Returns: the end of their bytes.
    func write(_ buffers: [IngestBuffer], ahead start: Int64) throws(StoreError) -> Int64 {
        var end = start
        for buffer in buffers {
            try Disk.write(buffer.filled, to: descriptor, at: end, path)
            end += Int64(buffer.count)
        }
        return end
    }

    /// Hashes the bytes that the file has after those written in order, up to `end`.
    /// - Returns: the number of bytes in the file now.
    func take(upTo end: Int64) throws(StoreError) -> Int64 {
        if let failure { throw failure }
        do throws(StoreError) {
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: BufferPool.bufferBytes, alignment: 4096)
            defer { buffer.deallocate() }
            while offset < end {
                let wanted = Int(min(Int64(buffer.count), end - offset))
                let count = try Disk.read(
                    descriptor, into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted]), at: offset, path)
                guard count > 0 else { throw .unusable(path: path, reason: "a span of it is missing") }
                hash.update(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
                offset += Int64(count)
            }
        } catch {
            failure = error
            throw error
        }
        return offset
    }

    /// Hashes the next part of the existing file.
    /// - Returns: the bytes hashed so far, and whether the whole file is hashed.
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

    /// Throws the first failure, if a write has failed.
    func check() throws(StoreError) {
        if let failure { throw failure }
    }

    /// Keeps the file for a later resume, without the reserved but unused room. An empty file is removed.
    func suspend() -> IngestEnd {
        if offset == 0 { return remove() }
        // Truncating at the end frees the room reserved beyond it. If it fails, the next resume hashes whatever is
        // there.
        _ = ftruncate(descriptor, off_t(offset))
        return IngestEnd(keptBytes: offset)
    }

    /// Removes the file. Truncating frees its blocks here in the pool, not when the loop closes the descriptor; current
    /// readers find the end of the file.
    func discard() -> IngestEnd {
        if ftruncate(descriptor, 0) == 0 { offset = 0 }
        return remove()
    }

    /// Gives the file its final name. Without the fsync before, a crash could leave the name on bytes that never
    /// reached the disk; without the fsync of the directory after, the name could be lost after it was reported. A file
    /// shorter than the written bytes was truncated by another program, and is removed.
    func publish(as target: String, in directory: String, isKnownDirectory: Bool, layout: Layout) -> IngestEnd {
        do throws(StoreError) {
            try Disk.sync(descriptor, path)
            let sizeBytes = try Disk.status(of: descriptor, path).sizeBytes
            guard sizeBytes == offset else {
                throw .unusable(path: path, reason: "size is \(sizeBytes), not \(offset)")
            }
        } catch {
            // After a failed fsync the kernel may have dropped the pages and report success for the next one, so these
            // bytes can no longer be trusted.
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
    /// Bytes that are still stored under the partial file's name.
    var keptBytes: Int64
    /// Whether the content has its final name.
    var isNamed = false
    /// The errors, the cause first.
    var errors: [StoreError] = []
}
