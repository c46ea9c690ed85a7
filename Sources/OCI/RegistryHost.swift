// The registry host of an image reference, in one canonical spelling, so that each registry has one key.

/// A registry host, `host[:port]`, lower case; Docker Hub's several names become `docker.io`.
package struct RegistryHost: Hashable, Sendable, CustomStringConvertible {
    /// Longest host accepted, in bytes: a DNS name's 253 (RFC 1035 §2.3.4), a colon, five digits, rounded to 255 for
    /// file names.
    package static let maximumBytes = 255

    /// Docker Hub, as image references name it.
    package static let dockerHub = RegistryHost(canonical: "docker.io")

    /// The canonical text, `host[:port]`.
    package let text: String

    private init(canonical: String) { text = canonical }

    /// Reads `host[:port]`: a DNS name, an IPv4 address or a bracketed IPv6 address. Nil for anything else, such as
    /// user information, a path or a port outside 1 to 65535.
    package init?(_ text: String) {
        let lower = text.asciiLowercased
        guard lower.utf8.count <= RegistryHost.maximumBytes else { return nil }
        let (name, port) = RegistryHost.split(lower)
        guard RegistryHost.isName(name) || RegistryHost.isBracketedAddress(name) else { return nil }
        if let port {
            guard port.utf8.count <= 5, OutsideNumber.decimal(port, in: 1...UInt16.max) != nil else { return nil }
        }
        self.text = RegistryHost.dockerHubNames.contains(lower) ? "docker.io" : lower
    }

    /// The host without its port; an IPv6 address keeps its brackets.
    package var name: String { String(RegistryHost.split(text).name) }

    /// The port; nil when the reference has none.
    package var port: UInt16? {
        RegistryHost.split(text).port.flatMap { OutsideNumber.decimal($0, in: 1...UInt16.max) }
    }

    package var isDockerHub: Bool { text == "docker.io" }

    package var description: String { text }

    /// Whether a path's first segment names a registry host rather than a repository: a dot, a port, or `localhost`
    /// (the rule of every client, see compatibility.md).
    package static func looksLikeHost(_ segment: UnsafeRawBufferPointer) -> Bool {
        if segment.contains(where: { $0 == 0x2E || $0 == 0x3A }) { return true }
        return segment.equals("localhost")
    }

    private static let dockerHubNames: Set<String> = ["docker.io", "index.docker.io", "registry-1.docker.io"]

    private static func split(_ text: String) -> (name: Substring, port: Substring?) {
        guard let colon = text.utf8.lastIndex(of: 0x3A), text.utf8[colon...].firstIndex(of: 0x5D) == nil else {
            return (text[...], nil)
        }
        return (text[..<colon], text[text.utf8.index(after: colon)...])
    }

    /// Whether it is DNS labels joined by dots; inner underscores are allowed, since some internal names have them.
    private static func isName(_ name: Substring) -> Bool {
        guard !name.isEmpty else { return false }
        return name.utf8.split(separator: 0x2E, omittingEmptySubsequences: false).allSatisfy { label in
            guard (1...63).contains(label.count), label.first != 0x2D, label.last != 0x2D else { return false }
            return label.allSatisfy { ASCII.isLower($0) || ASCII.isDigit($0) || $0 == 0x2D || $0 == 0x5F }
        }
    }

    /// Whether it is `[`, hexadecimal digits, colons and dots, `]`; curl decides later whether it is an address.
    private static func isBracketedAddress(_ name: Substring) -> Bool {
        guard name.utf8.first == 0x5B, name.utf8.last == 0x5D, name.utf8.count > 3 else { return false }
        return name.utf8.dropFirst().dropLast().allSatisfy { ASCII.isHexadecimal($0) || $0 == 0x3A || $0 == 0x2E }
    }
}
