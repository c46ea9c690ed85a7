// Lists of image references: a text file with one reference per line. Every invalid line is reported, so that one edit
// can fix the list.

internal import Glibc
package import OCI

/// A list's references, in its order, each once.
package struct ImageList: Sendable, Equatable {
    /// Room for hundreds of thousands of references.
    package static let maximumBytes = 16 * 1024 * 1024
    /// Most problems reported: a file that is not a list has one on every line.
    package static let maximumProblems = 20

    package let path: String
    package let names: [ImageName]

    /// Reads a file. May block.
    package static func read(_ path: String) throws(ImageListError) -> ImageList {
        let bytes: [UInt8]
        do throws(ArchiveError) { bytes = try content(path) } catch {
            throw ImageListError(problems: [.init(file: path, line: nil, reason: error.problem.text)])
        }
        return ImageList(path: path, names: try parse(bytes, path: path))
    }

    /// Parses a list's text. Blank lines and lines that begin with `#` are skipped; white space around a reference, a
    /// carriage return before the line end and a leading byte order mark are ignored.
    package static func parse(_ bytes: [UInt8], path: String) throws(ImageListError) -> [ImageName] {
        let text = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...]
        var names: [ImageName] = []
        var seen: Set<ImageName> = []
        var problems: [ImageListError.Problem] = []
        for (index, line) in text.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated() {
            let word = trimmed(line)
            if word.isEmpty || word.first == UInt8(ascii: "#") { continue }
            if let name = ImageName(String(decoding: word, as: UTF8.self)) {
                if seen.insert(name).inserted { names.append(name) }
            } else if problems.count < maximumProblems {
                problems.append(
                    .init(file: path, line: index + 1, reason: "not an image reference: \(shown(word))"))
            }
        }
        if !problems.isEmpty { throw ImageListError(problems: problems) }
        return names
    }

    private static func content(_ path: String) throws(ArchiveError) -> [UInt8] {
        let descriptor = try FileAccess.openFile(path)
        defer { close(descriptor) }
        // One byte more than allowed distinguishes a file that is too large from one of exactly the limit.
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: maximumBytes + 1, alignment: 16)
        defer { buffer.deallocate() }
        let count = try FileAccess.read(descriptor, into: buffer, path)
        guard count <= maximumBytes else {
            throw ArchiveError(path, .limit("a list of more than \(maximumBytes) bytes"))
        }
        return [UInt8](buffer[..<count])
    }

    private static func trimmed(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
        var rest = line.drop(while: isSpace)
        while let last = rest.last, isSpace(last) { rest.removeLast() }
        return rest
    }

    /// The start of a line for an error message, without characters that control a terminal.
    private static func shown(_ word: ArraySlice<UInt8>) -> String {
        let printable = word.prefix(80).map { (0x20..<0x7F).contains($0) ? $0 : UInt8(ascii: "?") }
        return "'" + String(decoding: printable, as: UTF8.self) + "'"
    }
}

/// The problems of a list, one line each.
package struct ImageListError: Error, Sendable, Equatable, CustomStringConvertible {
    package struct Problem: Sendable, Equatable, CustomStringConvertible {
        package let file: String
        /// From 1; nil when the problem concerns the whole file.
        package let line: Int?
        package let reason: String

        /// `file:line: reason`
        package var description: String { file + (line.map { ":\($0)" } ?? "") + ": \(reason)" }
    }

    package let problems: [Problem]

    package var description: String { problems.map(\.description).joined(separator: "\n") }
}
