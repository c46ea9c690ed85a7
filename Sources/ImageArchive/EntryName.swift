// Names inside an archive. Nothing is ever unpacked under them; they are keys. They are still refused when they try to
// lead elsewhere: an archive that does so was not made by an image tool.

package import OCI

package enum EntryName {
    /// The name with `.` segments, doubled and trailing slashes taken out; empty for the archive's own root. Nil for
    /// one that is absolute or has a `..` segment or a control character.
    static func normalized(_ name: String) -> String? {
        guard name.utf8.first != 0x2F, name.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { return nil }
        let segments = name.utf8.split(separator: 0x2F).filter { !$0.elementsEqual(".".utf8) }
        guard !segments.contains(where: { $0.elementsEqual("..".utf8) }) else { return nil }
        return join(segments)
    }

    /// What a symbolic link at `name` means inside the archive; nil when it leads out of it.
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

    /// Where a layout has the content of a digest (image-layout.md, "Blobs").
    package static func blob(_ digest: Digest) -> String { "blobs/\(digest.algorithm.name)/\(digest.hex)" }

    /// The digest of a name that `blob` makes.
    static func digest(_ name: String) -> Digest? {
        let segments = name.split(separator: "/", omittingEmptySubsequences: false)
        guard segments.count == 3, segments[0] == "blobs" else { return nil }
        return Digest("\(segments[1]):\(segments[2])")
    }

    private static func join(_ segments: [Substring.UTF8View.SubSequence]) -> String {
        segments.map { String(Substring($0)) }.joined(separator: "/")
    }
}
