// The part of an image reference after the repository name: a tag or a digest.

/// A reference to a manifest (distribution-spec 1.1, "Pulling manifests").
package enum Reference: Hashable, Sendable, CustomStringConvertible {
    case tag(String)
    case digest(Digest)

    /// Longest tag, by the specification's grammar.
    package static let maximumTagBytes = 128

    /// Reads a tag or a digest; nil when it is neither. Text with a colon can only be a digest.
    package init?(_ text: String) {
        if text.utf8.contains(0x3A) {
            guard let digest = Digest(text) else { return nil }
            self = .digest(digest)
            return
        }
        var copy = text
        guard copy.withUTF8({ Reference.isValidTag(UnsafeRawBufferPointer($0)) }) else { return nil }
        self = .tag(text)
    }

    package var description: String {
        switch self {
        case .tag(let tag): tag
        case .digest(let digest): digest.description
        }
    }

    /// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
    package static func isValidTag(_ tag: UnsafeRawBufferPointer) -> Bool {
        guard let first = tag.first, tag.count <= maximumTagBytes, first != 0x2E, first != 0x2D else { return false }
        return tag.allSatisfy { ASCII.isLetter($0) || ASCII.isDigit($0) || $0 == 0x5F || $0 == 0x2E || $0 == 0x2D }
    }
}
