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

    /// A table with `a` at each lower-case letter and digit, so that checking a name takes one load per byte.
    static var classes: StaticString {
        """
        ................................................aaaaaaaaaa......\
        .................................aaaaaaaaaaaaaaaaaaaaaaaaaa.....\
        ................................................................\
        ................................................................
        """
    }

    /// Whether the bytes are a valid name of at most `maximumBytes`.
    package static func isValid(_ name: UnsafeRawBufferPointer) -> Bool {
        guard !name.isEmpty, name.count <= maximumBytes else { return false }
        var at = 0
        while true {
            let start = at
            while at < name.count, RepositoryName.classes.utf8Start[Int(name[at])] == 0x61 { at &+= 1 }
            // Letters or digits are required at the start, at the end, and on both sides of a separator.
            guard at > start else { return false }
            guard at < name.count else { return true }
            let separator = name[at]
            at &+= 1
            switch separator {
            case 0x2F, 0x2E: break
            case 0x5F: if at < name.count, name[at] == 0x5F { at &+= 1 }
            case 0x2D: while at < name.count, name[at] == 0x2D { at &+= 1 }
            default: return false
            }
        }
    }
}
