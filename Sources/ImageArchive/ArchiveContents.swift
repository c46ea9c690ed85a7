// The entries of an archive with their sizes, and its small JSON documents. A tarball can only be read from the front,
// so the first pass keeps every possible document up to a limit; a document that is needed later and was not kept costs
// another pass, one for all documents of a level.

/// The first bytes of a compressed file.
enum Compression: Sendable {
    case gzip
    case zstd

    /// Detects the compression by content (RFC 1952 §2.3.1, RFC 8878 §3.1.1); nil for anything else, taken as none.
    init?(_ start: UnsafeRawBufferPointer) {
        if start.starts(with: [0x1F, 0x8B, 0x08]) {
            self = .gzip
        } else if start.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) {
            self = .zstd
        } else {
            return nil
        }
    }
}

/// The list of an archive's entries, and its documents.
struct ArchiveContents: Sendable {
    struct Entry: Sendable {
        let kind: ArchiveEntry.Kind
        let sizeBytes: Int64
        let compression: Compression?
    }

    /// The archive's path and limits: every pass opens the archive again.
    struct Place: Sendable {
        let path: String
        let limits: ArchiveLimits
        /// Nil for a directory.
        let identity: FileIdentity?

        func cursor() throws(ArchiveError) -> any EntryCursor {
            if let identity { return try TarCursor(path: path, limits: limits, expected: identity) }
            return try DirectoryCursor(path: path, limits: limits)
        }
    }

    let place: Place
    private(set) var entries: [String: Entry] = [:]
    private var documents: [String: [UInt8]] = [:]
    private var documentsBytes = 0
    private var keepsCandidates = true

    /// Reads the archive once.
    init(path: String, limits: ArchiveLimits) throws(ArchiveError) {
        let cursor: any EntryCursor
        if FileAccess.isDirectory(try FileAccess.status(at: path)) {
            place = Place(path: path, limits: limits, identity: nil)
            cursor = try place.cursor()
        } else {
            let tar = try TarCursor(path: path, limits: limits)
            place = Place(path: path, limits: limits, identity: tar.identity)
            cursor = tar
        }
        while let entry = try cursor.next() { try note(entry, cursor) }
    }

    /// The regular file of this name; nil when there is none.
    func file(_ name: String) -> Entry? {
        guard let entry = entries[name], entry.kind == .file else { return nil }
        return entry
    }

    /// The name of a regular file that a document refers to. `link: true` also follows one symbolic link inside the
    /// archive: docker writes one for a layer that two images share.
    func name(of wanted: String, link: Bool = false) throws(ArchiveError) -> String {
        guard let name = EntryName.normalized(wanted) else { throw ArchiveError(place.path, entry: wanted, .badName) }
        guard let entry = entries[name] else { throw ArchiveError(place.path, entry: name, .missing) }
        switch entry.kind {
        case .file: return name
        case .link(let target) where link:
            guard let resolved = EntryName.resolve(link: target, at: name) else {
                throw ArchiveError(place.path, entry: name, .badName)
            }
            guard file(resolved) != nil else { throw ArchiveError(place.path, entry: resolved, .missing) }
            return resolved
        case .link: throw ArchiveError(place.path, entry: name, .notAFile("a link"))
        case .directory: throw ArchiveError(place.path, entry: name, .notAFile("a directory"))
        case .other(let what): throw ArchiveError(place.path, entry: name, .notAFile(what))
        }
    }

    /// Makes these files available to `document`; files that were not kept are read in one pass.
    mutating func load(_ names: [String]) throws(ArchiveError) {
        var wanted: Set<String> = []
        var sum = 0
        for name in names where documents[name] == nil && !wanted.contains(name) {
            guard let entry = file(name) else { throw ArchiveError(place.path, entry: name, .missing) }
            guard entry.sizeBytes <= place.limits.documentBytes else {
                throw ArchiveError(
                    place.path, entry: name, .limit("a document of more than \(place.limits.documentBytes) bytes"))
            }
            wanted.insert(name)
            sum += Int(entry.sizeBytes)
        }
        guard !wanted.isEmpty else { return }
        // Documents of earlier levels, and files that only might be documents, make room.
        let kept = Set(names)
        documents = documents.filter { kept.contains($0.key) }
        documentsBytes = documents.reduce(sum) { $0 + $1.value.count }
        guard documentsBytes <= place.limits.documentsBytes else {
            throw ArchiveError(
                place.path, .limit("more than \(place.limits.documentsBytes) bytes of documents"))
        }
        let cursor = try place.cursor()
        while !wanted.isEmpty, let entry = try cursor.next() {
            guard entry.kind == .file, wanted.remove(entry.name) != nil else { continue }
            documents[entry.name] = try cursor.content(entry)
        }
        if let name = wanted.first { throw ArchiveError(place.path, entry: name, .changed) }
    }

    /// A document that `load` has read.
    func document(_ name: String) throws(ArchiveError) -> [UInt8] {
        guard let bytes = documents[name] else { throw ArchiveError(place.path, entry: name, .missing) }
        return bytes
    }
}

extension ArchiveContents {
    private mutating func note(_ entry: ArchiveEntry, _ cursor: any EntryCursor) throws(ArchiveError) {
        let first = entry.kind == .file ? try cursor.piece() : nil
        let record = Entry(
            kind: entry.kind, sizeBytes: entry.sizeBytes, compression: first.flatMap { Compression($0) })
        if let before = entries[entry.name] { try compare(before, record, entry.name) }
        entries[entry.name] = record
        guard let first, ArchiveContents.mayBeDocument(first), entry.sizeBytes <= place.limits.documentBytes else {
            return
        }
        var bytes = [UInt8](first)
        while let piece = try cursor.piece() { bytes.append(contentsOf: piece) }
        try keep(bytes, entry.name)
    }

    /// Checks that two entries of one name agree. For blobs only the size is compared: the one that is read has to hash
    /// to its digest anyway.
    private func compare(_ before: Entry, _ now: Entry, _ name: String) throws(ArchiveError) {
        guard before.kind == now.kind, before.sizeBytes == now.sizeBytes else {
            throw ArchiveError(place.path, entry: name, .duplicate)
        }
    }

    private mutating func keep(_ bytes: [UInt8], _ name: String) throws(ArchiveError) {
        if let before = documents[name] {
            guard before == bytes else { throw ArchiveError(place.path, entry: name, .duplicate) }
            return
        }
        guard keepsCandidates else { return }
        guard documentsBytes + bytes.count <= place.limits.documentsBytes else {
            keepsCandidates = false
            return
        }
        documentsBytes += bytes.count
        documents[name] = bytes
    }

    /// Whether the content may be a JSON object or array; a tarball's first byte belongs to a name.
    private static func mayBeDocument(_ start: UnsafeRawBufferPointer) -> Bool {
        let first = start.first { $0 != 0x20 && $0 != 0x09 && $0 != 0x0A && $0 != 0x0D }
        return first == 0x7B || first == 0x5B
    }
}
