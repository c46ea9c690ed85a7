// Repository names by the specification's grammar, at any depth.

/// A repository name such as `library/hello-world`: lower-case components joined by `/`.
///
/// Source: distribution-spec 1.1, "Pulling manifests":
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`.
package struct RepositoryName: Hashable, Sendable, CustomStringConvertible {
    /// Longest name accepted, in bytes: the specification notes that clients limit host and name together to 255.
    package static let maximumBytes = 255

    package let text: String

    package init?(_ text: String) {
        var copy = text
        guard copy.withUTF8({ RepositoryName.isValid(UnsafeRawBufferPointer($0)) }) else { return nil }
        self.text = text
    }

    package var description: String { text }

    /// Whether the bytes are a name by the grammar and within `maximumBytes`.
    package static func isValid(_ name: UnsafeRawBufferPointer) -> Bool {
        guard !name.isEmpty, name.count <= maximumBytes else { return false }
        // `run` tells the separator being read: 0 after a letter or digit, else the separator's byte and how many.
        var separator: UInt8 = 0x2F
        var run = 1
        for byte in name {
            if ASCII.isLower(byte) || ASCII.isDigit(byte) {
                separator = 0
                run = 0
                continue
            }
            switch (byte, separator) {
            case (0x2F, 0), (0x2E, 0), (0x5F, 0), (0x2D, 0): break
            case (0x5F, 0x5F) where run == 1: break
            case (0x2D, 0x2D): break
            default: return false
            }
            separator = byte
            run += 1
        }
        return separator == 0
    }
}
