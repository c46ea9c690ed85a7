// The names of requests as keys. The hot path has a request's bytes, not strings: it joins the parts of a name on the
// stack.

/// The parts of a repository's name as bytes: `host/[library/]repository`. Borrowed; valid only during a call.
package struct RepositoryBytes {
    /// The canonical host (`RegistryHost.text`).
    package let host: UnsafeRawBufferPointer
    /// Whether `library/` precedes the repository (Docker Hub's one-segment names).
    package let isLibrary: Bool
    package let repository: UnsafeRawBufferPointer

    private static let library: StaticString = "library/"
    /// Stack space for any valid name: host and repository of 255 bytes, a tag of 128.
    private static let usualBytes = 1024

    package init(host: UnsafeRawBufferPointer, isLibrary: Bool, repository: UnsafeRawBufferPointer) {
        self.host = host
        self.isLibrary = isLibrary
        self.repository = repository
    }

    /// Calls `body` with the whole name as one text, valid during the call.
    /// - Parameter tag: a tag of the repository, which follows the name after a colon.
    @inline(__always)
    func withText<R>(tag: UnsafeRawBufferPointer? = nil, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        let count =
            host.count + RepositoryBytes.library.utf8CodeUnitCount + repository.count + (tag?.count ?? 0) + 2
        if count <= RepositoryBytes.usualBytes {
            return withUnsafeTemporaryAllocation(byteCount: RepositoryBytes.usualBytes, alignment: 8) {
                body(text(tag, in: $0))
            }
        }
        return withUnsafeTemporaryAllocation(byteCount: count, alignment: 8) { body(text(tag, in: $0)) }
    }

    @inline(__always)
    private func text(
        _ tag: UnsafeRawBufferPointer?, in room: UnsafeMutableRawBufferPointer
    ) -> UnsafeRawBufferPointer {
        let library = UnsafeRawBufferPointer(
            start: RepositoryBytes.library.utf8Start, count: isLibrary ? RepositoryBytes.library.utf8CodeUnitCount : 0)
        var end = RepositoryBytes.put(host, in: room, at: 0)
        room[end] = 0x2F
        end = RepositoryBytes.put(library, in: room, at: end &+ 1)
        end = RepositoryBytes.put(repository, in: room, at: end)
        if let tag {
            room[end] = 0x3A
            end = RepositoryBytes.put(tag, in: room, at: end &+ 1)
        }
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
