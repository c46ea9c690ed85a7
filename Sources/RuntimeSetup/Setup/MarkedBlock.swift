// Insertions into files of somebody else, between two comment lines, so that they can be taken away again exactly. For
// formats whose comments begin with #.

internal import Configuration

enum MarkedBlock {
    static let begin = "# begin ociregistry setup"
    static let end = "# end ociregistry setup"
    /// Before a line of the file that a block stands in for.
    static let replaced = "#- "

    /// Inserts lines between two marks at the beginning of a line, or at the end of the text.
    static func insert(_ lines: [String], at offset: Int, into bytes: [UInt8], indent: String = "") -> [UInt8] {
        let block = ([begin] + lines + [end]).map { indent + $0 }.joined(separator: "\n")
        // A block at the end of a text without a newline there has none either: `remove` knows it by that.
        let isUnended = offset == bytes.count && !bytes.isEmpty && bytes.last != 0x0A
        let text = isUnended ? "\n" + block : block + "\n"
        return bytes[..<offset] + Array(text.utf8) + bytes[offset...]
    }

    /// Puts a block in place of a line, which it keeps as a comment.
    static func replace(_ line: Range<Int>, with lines: [String], in bytes: [UInt8]) -> [UInt8] {
        var old = bytes[line]
        let hasNewline = old.last == 0x0A
        if hasNewline { old.removeLast() }
        let kept = replaced + String(decoding: old, as: UTF8.self)
        let block = ([begin, kept] + lines + [end]).joined(separator: "\n") + (hasNewline ? "\n" : "")
        return bytes[..<line.lowerBound] + Array(block.utf8) + bytes[line.upperBound...]
    }

    /// Takes every block away.
    /// - Parameter place: the file, for the refusal of a block without an end.
    static func remove(from bytes: [UInt8], of place: String) throws(Refusal) -> [UInt8] {
        var result: [UInt8] = []
        var at = 0
        var line = 0
        /// Of the block that is being passed: its line, and the lines of the file that it has kept.
        var block: (line: Int, kept: [UInt8])?
        while at < bytes.count {
            let next = bytes[at...].firstIndex(of: 0x0A).map { $0 + 1 } ?? bytes.count
            let text = bytes[at..<next]
            line += 1
            at = next
            if isMark(text, begin) {
                guard block == nil else { throw unended(place, line) }
                block = (line, [])
            } else if let open = block {
                if isMark(text, end) {
                    block = nil
                    result += text.last == 0x0A ? open.kept : Array(open.kept.dropLast())
                    if text.last != 0x0A, open.kept.isEmpty, result.last == 0x0A { result.removeLast() }
                } else if text.starts(with: replaced.utf8) {
                    block?.kept += text.dropFirst(replaced.utf8.count)
                }
            } else {
                result += text
            }
        }
        if let block { throw unended(place, block.line) }
        return result
    }

    private static func isMark(_ line: ArraySlice<UInt8>, _ mark: String) -> Bool {
        var line = line.drop { $0 == 0x20 || $0 == 0x09 }
        while let last = line.last, last == 0x0A || last == 0x0D { line.removeLast() }
        return line.elementsEqual(mark.utf8)
    }

    private static func unended(_ place: String, _ line: Int) -> Refusal {
        Refusal(
            "\(place):\(line): '\(begin)' without '\(end)' behind it: put that line back, or remove the block by hand")
    }
}
