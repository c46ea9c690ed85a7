// The mirror's address, and whether what a runtime's configuration names is the same.

internal import OCI

/// `http[s]://host[:port][/path]`.
package struct MirrorAddress: Sendable, Equatable {
    package let url: String
    package let isSecure: Bool
    /// `host:port`, in lower case and with the port that counts.
    let authority: String

    /// Nil when the text is no such URL.
    package init?(_ text: String) {
        let lower = text.asciiLowercased
        let isSecure = lower.hasPrefix("https://")
        guard isSecure || lower.hasPrefix("http://") else { return nil }
        let rest = lower.dropFirst(isSecure ? 8 : 7).prefix { $0 != "/" }
        guard !rest.isEmpty, rest.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || ".-:[]_".contains($0)) })
        else { return nil }
        self.isSecure = isSecure
        authority = MirrorAddress.authority(String(rest), isSecure: isSecure)
        url = text.last == "/" ? String(text.dropLast()) : text
    }

    /// Adds the port that counts where none is written, and gives this machine one name.
    private static func authority(_ text: String, isSecure: Bool) -> String {
        let hasPort = text.hasSuffix("]") ? false : text.split(separator: "]").last?.contains(":") ?? false
        let full = hasPort ? text : "\(text):\(isSecure ? 443 : 80)"
        for name in ["localhost", "[::1]"] where full.hasPrefix(name + ":") {
            return "127.0.0.1" + full.dropFirst(name.count)
        }
        return full
    }

    /// Whether a mirror in a runtime's configuration is this one. podman and CRI-O write no scheme.
    func isNamed(by mirror: String) -> Bool {
        if let other = MirrorAddress(mirror) { return other.authority == authority && other.isSecure == isSecure }
        return MirrorAddress("\(isSecure ? "https" : "http")://\(mirror)")?.authority == authority
    }
}
