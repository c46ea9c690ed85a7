// The input files of `load` and `--preload-images`: a text list of references or an image archive, distinguished by
// content. File names are ignored, since tarballs have arbitrary ones.

internal import Glibc

/// One input file after reading.
package enum ImageFile: Sendable {
    case list(ImageList)
    case archive(ImageArchive)

    /// Reads a list, or an archive's contents. May block.
    package static func open(
        _ path: String, limits: ArchiveLimits = ArchiveLimits()
    ) throws(ImageFileError) -> ImageFile {
        do throws(ArchiveError) {
            if try isArchive(path) { return .archive(try ImageArchive.open(path, limits: limits)) }
        } catch {
            throw .archive(error)
        }
        do throws(ImageListError) { return .list(try ImageList.read(path)) } catch { throw .list(error) }
    }

    /// Bytes needed to detect the type: a tar header has 512.
    private static let probeBytes = 4096

    private static func isArchive(_ path: String) throws(ArchiveError) -> Bool {
        if FileAccess.isDirectory(try FileAccess.status(at: path)) { return true }
        let descriptor = try FileAccess.openFile(path)
        defer { close(descriptor) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: probeBytes, alignment: 16)
        defer { buffer.deallocate() }
        let count = try FileAccess.read(descriptor, into: buffer, path)
        let start = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        if Compression(start) != nil || isTar(start) { return true }
        if isText(start) { return false }
        throw ArchiveError(path, .unknownContent)
    }

    /// Whether a tar header's checksum is valid: the sum of its bytes, with its own field as spaces (tar(5), "Header
    /// Block").
    private static func isTar(_ start: UnsafeRawBufferPointer) -> Bool {
        guard start.count >= 512 else { return false }
        let field = 148..<156
        let digits = start[field].drop { $0 == 0x20 }.prefix { (0x30...0x37).contains($0) }
        guard !digits.isEmpty else { return false }
        let stated = digits.reduce(0) { $0 * 8 + Int($1 - 0x30) }
        let sum = (0..<512).reduce(0) { $0 + (field.contains($1) ? 0x20 : Int(start[$1])) }
        return sum == stated
    }

    /// Whether there are no control characters except white space; UTF-8 is checked when the list is read.
    private static func isText(_ start: UnsafeRawBufferPointer) -> Bool {
        start.allSatisfy { $0 >= 0x20 && $0 != 0x7F || (0x09...0x0D).contains($0) }
    }
}

/// The error of an input file of either type.
package enum ImageFileError: Error, Sendable, Equatable, CustomStringConvertible {
    case list(ImageListError)
    case archive(ArchiveError)

    package var description: String {
        switch self {
        case .list(let error): error.description
        case .archive(let error): error.description
        }
    }
}
