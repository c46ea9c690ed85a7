// The tags in memory. The hot path has a request's bytes, not strings: it joins the parts of the name on the stack,
// finds the entry by their hash and compares, without allocating.

internal import BasicContainers
package import OCI

/// The digest of a tag, and when it was last confirmed.
package struct TagRecord: Sendable, Equatable, BitwiseCopyable {
    package let digest: Digest
    /// Unix time at which an upstream last confirmed it; after a restart, at which the tag's file was written.
    package var resolvedAtSeconds: Int64
}

/// The parts of a tag's name as bytes: `host/[library/]repository:tag`. Borrowed; valid only during a call.
package struct TagBytes {
    /// The canonical host (`RegistryHost.text`).
    package let host: UnsafeRawBufferPointer
    /// Whether `library/` precedes the repository (Docker Hub's one-segment names).
    package let isLibrary: Bool
    package let repository: UnsafeRawBufferPointer
    package let tag: UnsafeRawBufferPointer

    package init(
        host: UnsafeRawBufferPointer, isLibrary: Bool, repository: UnsafeRawBufferPointer, tag: UnsafeRawBufferPointer
    ) {
        self.host = host
        self.isLibrary = isLibrary
        self.repository = repository
        self.tag = tag
    }

    private static let library: StaticString = "library/"
    /// Stack space for any valid name: host and repository of 255 bytes, a tag of 128.
    private static let usualBytes = 1024

    /// Calls `body` with the whole name as one text, valid during the call.
    @inline(__always)
    fileprivate func withText<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        let count = host.count + TagBytes.library.utf8CodeUnitCount + repository.count + tag.count + 2
        if count <= TagBytes.usualBytes {
            return withUnsafeTemporaryAllocation(byteCount: TagBytes.usualBytes, alignment: 8) { body(text(in: $0)) }
        }
        return withUnsafeTemporaryAllocation(byteCount: count, alignment: 8) { body(text(in: $0)) }
    }

    @inline(__always)
    private func text(in room: UnsafeMutableRawBufferPointer) -> UnsafeRawBufferPointer {
        let library = UnsafeRawBufferPointer(
            start: TagBytes.library.utf8Start, count: isLibrary ? TagBytes.library.utf8CodeUnitCount : 0)
        var end = TagBytes.put(host, in: room, at: 0)
        room[end] = 0x2F
        end = TagBytes.put(library, in: room, at: end &+ 1)
        end = TagBytes.put(repository, in: room, at: end)
        room[end] = 0x3A
        end = TagBytes.put(tag, in: room, at: end &+ 1)
        return UnsafeRawBufferPointer(start: room.baseAddress, count: end)
    }

    /// Copies a part to an offset, and returns its end.
    @inline(__always)
    private static func put(
        _ piece: UnsafeRawBufferPointer, in room: UnsafeMutableRawBufferPointer, at offset: Int
    ) -> Int {
        guard let source = piece.baseAddress, let start = room.baseAddress else { return offset }
        (start + offset).copyMemory(from: source, byteCount: piece.count)
        return offset &+ piece.count
    }
}

/// All tags known, by name.
struct TagIndex: ~Copyable {
    private struct Entry: BitwiseCopyable {
        /// The name's text, in memory that this index owns; empty for a free entry.
        var key: UnsafeRawBufferPointer
        var record: TagRecord
    }

    private var entries = UniqueArray<Entry>()
    private var free: [Int] = []
    private var index = HashPositions()
    private let hash = KeyedHash()
    /// Counts tags that were removed or got another digest.
    private(set) var removalCount: UInt64 = 0

    deinit {
        for position in 0..<entries.count { entries[position].key.deallocate() }
    }

    var count: Int { index.count }

    /// The tag's record. Allocates nothing.
    func record(_ name: TagBytes) -> TagRecord? {
        name.withText { text in position(of: text).map { entries[$0].record } }
    }

    mutating func set(_ name: TagBytes, _ record: TagRecord) {
        name.withText { text in
            if let known = position(of: text) {
                if entries[known].record.digest != record.digest { removalCount &+= 1 }
                entries[known].record = record
                return
            }
            let key = UnsafeMutableRawBufferPointer.allocate(byteCount: text.count, alignment: 1)
            key.copyMemory(from: text)
            let entry = Entry(key: UnsafeRawBufferPointer(key), record: record)
            let position = free.popLast() ?? entries.count
            if position == entries.count { entries.append(entry) } else { entries[position] = entry }
            index.insert(hash.of(text), position)
        }
    }

    mutating func remove(_ name: TagBytes) {
        name.withText { text in
            guard let position = position(of: text) else { return }
            index.remove(hash.of(text), position)
            removalCount &+= 1
            entries[position].key.deallocate()
            entries[position].key = .init(start: nil, count: 0)
            free.append(position)
        }
    }

    private func position(of text: UnsafeRawBufferPointer) -> Int? {
        index.first(hash.of(text)) { position in entries[position].key.equals(text) }
    }
}

extension TagName {
    /// Calls `body` with the name's bytes, valid during the call.
    func withBytes<R>(_ body: (TagBytes) -> R) -> R {
        var host = host.text
        var repository = repository.text
        var tag = tag
        return host.withUTF8 { host in
            repository.withUTF8 { repository in
                tag.withUTF8 { tag in
                    body(
                        TagBytes(
                            host: UnsafeRawBufferPointer(host), isLibrary: false,
                            repository: UnsafeRawBufferPointer(repository), tag: UnsafeRawBufferPointer(tag)))
                }
            }
        }
    }
}
