// Tags in memory. The hot path has a request's bytes, not strings: it hashes the pieces of the name as they lie there
// and compares them with the stored key, and makes nothing.

/// What a tag points to.
package struct TagRecord: Sendable, Equatable {
    package let digest: Digest
    /// Unix seconds of when an upstream last said so; after a restart, of when the tag's file was written.
    package var resolvedAtSeconds: Int64
}

/// The pieces of a tag's name as bytes: `host/[library/]repository:tag`. Borrowed; valid within a call.
package struct TagBytes {
    /// Canonical (`RegistryHost.text`).
    package let host: UnsafeRawBufferPointer
    /// Whether `library/` goes before the repository (Docker Hub's one-segment names).
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

    fileprivate static let library: StaticString = "library/"

    /// Keys of the dictionary. Hasher takes bytes as a stream: how they are cut makes no difference (a test holds
    /// this).
    fileprivate var hash: Int {
        var hasher = Hasher()
        hasher.combine(bytes: host)
        hasher.combine(0x2F as UInt8)
        if isLibrary { TagBytes.library.withUTF8Buffer { hasher.combine(bytes: UnsafeRawBufferPointer($0)) } }
        hasher.combine(bytes: repository)
        hasher.combine(0x3A as UInt8)
        hasher.combine(bytes: tag)
        return hasher.finalize()
    }

    /// Whether the key's text is this name.
    fileprivate func equals(_ key: [UInt8]) -> Bool {
        let prefixCount = isLibrary ? TagBytes.library.utf8CodeUnitCount : 0
        let colon = host.count + 1 + prefixCount + repository.count
        guard key.count == colon + 1 + tag.count else { return false }
        return key.withUnsafeBytes { raw in
            func matches(_ piece: UnsafeRawBufferPointer, at offset: Int) -> Bool {
                UnsafeRawBufferPointer(rebasing: raw[offset..<(offset + piece.count)]).equals(piece)
            }
            guard raw[host.count] == 0x2F, raw[colon] == 0x3A, matches(host, at: 0) else { return false }
            guard matches(repository, at: colon - repository.count), matches(tag, at: colon + 1) else { return false }
            return !isLibrary
                || TagBytes.library.withUTF8Buffer { matches(UnsafeRawBufferPointer($0), at: host.count + 1) }
        }
    }
}

/// All tags known, by name.
struct TagIndex {
    private struct Entry {
        let key: [UInt8]
        var record: TagRecord
    }

    /// By the hash's last bits, so that none grows large: a dictionary that grows moves all it has, and the loop waits.
    private static let shardCount = 64
    private var shards = [[Int: Entry]](repeating: [:], count: shardCount)
    private var entryCount = 0
    /// Names whose hash another name had first: with 64-bit hashes, in practice empty.
    private var collisions: [String: TagRecord] = [:]

    var count: Int { entryCount + collisions.count }

    /// No allocation, but for names that share their hash with another.
    func record(_ name: TagBytes) -> TagRecord? {
        let hash = name.hash
        guard let entry = shards[TagIndex.shard(hash)][hash] else { return nil }
        if name.equals(entry.key) { return entry.record }
        return collisions.isEmpty ? nil : collisions[TagIndex.text(name)]
    }

    mutating func set(_ name: TagBytes, _ record: TagRecord) {
        let hash = name.hash
        let former = shards[TagIndex.shard(hash)][hash]
        if let former, !name.equals(former.key) {
            collisions[TagIndex.text(name)] = record
        } else {
            let key = former?.key ?? Array(TagIndex.text(name).utf8)
            shards[TagIndex.shard(hash)][hash] = Entry(key: key, record: record)
            if former == nil { entryCount += 1 }
        }
    }

    mutating func remove(_ name: TagBytes) {
        let hash = name.hash
        if let entry = shards[TagIndex.shard(hash)][hash], name.equals(entry.key) {
            shards[TagIndex.shard(hash)][hash] = nil
            entryCount -= 1
        } else {
            collisions[TagIndex.text(name)] = nil
        }
    }

    private static func shard(_ hash: Int) -> Int { hash & (shardCount - 1) }

    private static func text(_ name: TagBytes) -> String {
        func string(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }
        let prefix = name.isLibrary ? "library/" : ""
        return "\(string(name.host))/\(prefix)\(string(name.repository)):\(string(name.tag))"
    }
}

extension TagName {
    /// The name's bytes, for the length of a call.
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
