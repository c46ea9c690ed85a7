// Reads an OCI layout in a directory, as written by skopeo's `oci:` and umoci. Only names that the layout defines are
// read, and no link below the given directory is followed.

internal import Glibc
internal import OCI

final class DirectoryCursor: EntryCursor {
    private static let bufferBytes = 256 * 1024

    private let path: String
    private let limits: ArchiveLimits
    /// Remaining names in reverse order.
    private var names: [String]
    private var current: (entry: ArchiveEntry, descriptor: Int32)?
    private var positionBytes: Int64 = 0
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferBytes, alignment: 16)

    init(path: String, limits: ArchiveLimits) throws(ArchiveError) {
        self.path = path
        self.limits = limits
        var names = ["oci-layout", "index.json"].filter { FileAccess.exists("\(path)/\($0)") }
        for algorithm in Digest.Algorithm.allCases {
            let directory = "blobs/\(algorithm.name)"
            let found = try DirectoryCursor.names(in: directory, of: path, atMost: limits.entries - names.count)
            names += found.sorted().map { "\(directory)/\($0)" }
        }
        self.names = names.reversed()
    }

    deinit {
        if let current { close(current.descriptor) }
        buffer.deallocate()
    }

    func next() throws(ArchiveError) -> ArchiveEntry? {
        if let current { close(current.descriptor) }
        current = nil
        positionBytes = 0
        guard let name = names.popLast() else { return nil }
        let descriptor = try openBelow(name)
        do throws(ArchiveError) {
            let status = try FileAccess.status(of: descriptor, path)
            let isFile = status.st_mode & S_IFMT == S_IFREG
            let entry = ArchiveEntry(
                name: name, kind: isFile ? .file : .other("not a regular file"),
                sizeBytes: isFile ? Int64(status.st_size) : 0)
            guard ContentSize.accepted(entry.sizeBytes) != nil else {
                throw ArchiveError(path, entry: name, .limit("a file of more than \(ContentSize.maximum) bytes"))
            }
            if !isFile { throw ArchiveError(path, entry: name, .notAFile("a directory or a device")) }
            current = (entry, descriptor)
            return entry
        } catch {
            close(descriptor)
            throw error
        }
    }

    func piece() throws(ArchiveError) -> UnsafeRawBufferPointer? {
        guard let (entry, descriptor) = current else { return nil }
        let count = try FileAccess.read(descriptor, into: buffer, path, entry: entry.name)
        positionBytes += Int64(count)
        // A file that grows or shrinks while it is read does not match the announced size.
        let isWrong = count == 0 ? positionBytes != entry.sizeBytes : positionBytes > entry.sizeBytes
        if isWrong {
            throw ArchiveError(
                path, entry: entry.name, .wrongSize(expected: entry.sizeBytes, found: positionBytes))
        }
        return count == 0 ? nil : UnsafeRawBufferPointer(rebasing: buffer[..<count])
    }

    /// Opens a name below the directory one segment at a time, so that no segment can be a link.
    private func openBelow(_ name: String) throws(ArchiveError) -> Int32 {
        var directory = try FileAccess.retry("open", path) { open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        var segments = name.split(separator: "/").map(String.init)
        let last = segments.popLast() ?? ""
        defer { close(directory) }
        for segment in segments {
            let next = try openStep(segment, in: directory, O_RDONLY | O_DIRECTORY, name)
            close(directory)
            directory = next
        }
        return try openStep(last, in: directory, O_RDONLY, name)
    }

    private func openStep(
        _ segment: String, in directory: Int32, _ flags: Int32, _ name: String
    ) throws(ArchiveError) -> Int32 {
        do throws(ArchiveError) { return try FileAccess.open(segment, in: directory, flags, path) } catch {
            // O_NOFOLLOW reports a symbolic link as ELOOP.
            if case .system(_, ELOOP) = error.problem { throw ArchiveError(path, entry: name, .notAFile("a link")) }
            throw ArchiveError(path, entry: name, error.problem)
        }
    }

    /// The names in a directory; empty when it does not exist.
    private static func names(
        in directory: String, of path: String, atMost limit: Int
    ) throws(ArchiveError) -> [String] {
        guard let stream = opendir("\(path)/\(directory)") else {
            if errno == ENOENT { return [] }
            throw ArchiveError(path, entry: directory, .system(call: "opendir", code: errno))
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
                tuple.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) { String(cString: $0) }
            }
            // Tools keep unfinished files beside the blobs, under names that are not digests.
            guard EntryName.digest("\(directory)/\(name)") != nil else { continue }
            names.append(name)
            if names.count > limit { throw ArchiveError(path, .limit("too many entries")) }
        }
        return names
    }
}
