// Names inside an archive. They are only keys, and no file is written under them. Names that lead outside the archive
// are still refused, since no image tool writes them.

package import OCI

package enum EntryName {
    /// The name without `.` segments and doubled or trailing slashes; empty for the archive's root. Nil for an absolute
    /// name, or one with a `..` segment or a control character.
    static func normalized(_ name: String) -> String? {
        guard name.utf8.first != 0x2F, name.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { return nil }
        let segments = name.utf8.split(separator: 0x2F).filter { !$0.elementsEqual(".".utf8) }
        guard !segments.contains(where: { $0.elementsEqual("..".utf8) }) else { return nil }
        return join(segments)
    }

    /// The entry that a symbolic link at `name` refers to; nil when it leads outside the archive.
    static func resolve(link target: String, at name: String) -> String? {
        guard target.utf8.first != 0x2F, target.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { return nil }
        var segments = Array(name.utf8.split(separator: 0x2F).dropLast())
        for segment in target.utf8.split(separator: 0x2F) where !segment.elementsEqual(".".utf8) {
            if segment.elementsEqual("..".utf8) {
                guard segments.popLast() != nil else { return nil }
            } else {
                segments.append(segment)
            }
        }
        return join(segments)
    }

    /// The path of a digest's content in a layout (image-layout.md, "Blobs").
    package static func blob(_ digest: Digest) -> String { "blobs/\(digest.algorithm.name)/\(digest.hex)" }

    /// The digest of a path made by `blob`; nil for any other path.
    static func digest(_ name: String) -> Digest? {
        let segments = name.split(separator: "/", omittingEmptySubsequences: false)
        guard segments.count == 3, segments[0] == "blobs" else { return nil }
        return Digest("\(segments[1]):\(segments[2])")
    }

    private static func join(_ segments: [Substring.UTF8View.SubSequence]) -> String {
        segments.map { String(Substring($0)) }.joined(separator: "/")
    }
}
