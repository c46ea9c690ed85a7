// The tags in memory, found by a request's bytes without allocating.

package import OCI

/// The digest of a tag, and when it was last confirmed.
package struct TagRecord: Sendable, Equatable, BitwiseCopyable {
    package let digest: Digest
    /// Unix time at which an upstream last confirmed it, or at which the operator loaded it.
    package var resolvedAtSeconds: Int64
    /// The same moment on the store's `tagClock`.
    package var checkedMilliseconds: Int64 = 0
}

/// The parts of a tag's name as bytes: `host/[library/]repository:tag`. Borrowed; valid only during a call.
package struct TagBytes {
    package let repository: RepositoryBytes
    package let tag: UnsafeRawBufferPointer

    package init(_ repository: RepositoryBytes, tag: UnsafeRawBufferPointer) {
        self.repository = repository
        self.tag = tag
    }

    /// Calls `body` with the whole name as one text, valid during the call.
    @inline(__always)
    func withText<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R { repository.withText(tag: tag, body) }
}

/// All tags known, by name.
struct TagIndex: ~Copyable {
    private var table = TextTable<TagRecord>()
    /// Counts tags that were removed or got another digest.
    private(set) var removalCount: UInt64 = 0

    var count: Int { table.count }

    /// The tag's record. Allocates nothing.
    func record(_ name: TagBytes) -> TagRecord? {
        name.withText { text in table.position(of: text).map { table[$0] } }
    }

    mutating func set(_ name: TagBytes, _ record: TagRecord) {
        name.withText { text in
            guard let known = table.position(of: text) else { return table.insert(text, record) }
            if table[known].digest != record.digest { removalCount &+= 1 }
            table[known] = record
        }
    }

    mutating func remove(_ name: TagBytes) {
        name.withText { text in
            guard let position = table.position(of: text) else { return }
            removalCount &+= 1
            table.remove(at: position)
        }
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
                            RepositoryBytes(
                                host: UnsafeRawBufferPointer(host), isLibrary: false,
                                repository: UnsafeRawBufferPointer(repository)), tag: UnsafeRawBufferPointer(tag)))
                }
            }
        }
    }
}
