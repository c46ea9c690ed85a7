// An archive as a sequence of entries, read from front to back: the only order that a tarball allows. A directory is
// read through the same interface.

/// One entry of an archive.
struct ArchiveEntry: Sendable {
    enum Kind: Sendable, Equatable {
        case file
        case directory
        /// A symbolic link and its target.
        case link(String)
        /// Any other type, as text for people.
        case other(String)
    }

    /// A name normalized by `EntryName.normalized`.
    let name: String
    let kind: Kind
    let sizeBytes: Int64
}

/// Reads an archive once. May block; used by one thread at a time.
protocol EntryCursor: AnyObject {
    /// The next entry; nil after the last. Unread content of the previous entry is skipped.
    func next() throws(ArchiveError) -> ArchiveEntry?

    /// The next bytes of the current entry's content, valid until the next call; nil at its end. The content is exactly
    /// `sizeBytes` long, otherwise an error is thrown.
    func piece() throws(ArchiveError) -> UnsafeRawBufferPointer?
}

extension EntryCursor {
    /// The whole content of the current entry, whose size the caller has checked.
    func content(_ entry: ArchiveEntry) throws(ArchiveError) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(entry.sizeBytes))
        while let piece = try piece() { bytes.append(contentsOf: piece) }
        return bytes
    }
}
