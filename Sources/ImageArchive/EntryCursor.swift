// An archive as a sequence of entries, read from front to back: a tarball can be read in no other way, and a directory
// does not mind.

/// One entry of an archive.
struct ArchiveEntry: Sendable {
    enum Kind: Sendable, Equatable {
        case file
        case directory
        /// A symbolic link and what it says.
        case link(String)
        /// Anything else, in words.
        case other(String)
    }

    /// As `EntryName.normalized` has it.
    let name: String
    let kind: Kind
    let sizeBytes: Int64
}

/// Goes through an archive once. May block; used by one thread at a time.
protocol EntryCursor: AnyObject {
    /// The next entry, or nil after the last. What was not read of the one before is passed over.
    func next() throws(ArchiveError) -> ArchiveEntry?

    /// The next bytes of the current entry's content, valid until the next call; nil at its end. All of it together is
    /// exactly `sizeBytes` long, or an error is thrown.
    func piece() throws(ArchiveError) -> UnsafeRawBufferPointer?
}

extension EntryCursor {
    /// The whole content of the current entry, which is known to be small.
    func content(_ entry: ArchiveEntry) throws(ArchiveError) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(entry.sizeBytes))
        while let piece = try piece() { bytes.append(contentsOf: piece) }
        return bytes
    }
}
