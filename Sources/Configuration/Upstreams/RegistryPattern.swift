// The names of `registries`: a host, or a pattern for many hosts such as `*.dkr.ecr.*.amazonaws.com`.

package import OCI

/// A registry host, or a pattern of hosts. A `*` stands for one or more characters without a dot, and as the pattern's
/// first character for dots too; `*` alone is every host. A port is part of the text and is not matched by a `*`.
package struct RegistryPattern: Hashable, Sendable, CustomStringConvertible {
    /// Canonical, in lower case.
    package let text: String
    /// The one host that it names; nil when it is a pattern.
    package let host: RegistryHost?

    package init(_ host: RegistryHost) {
        text = host.text
        self.host = host
    }

    package init(parsing text: String) throws(Refusal) {
        guard text.utf8.contains(RegistryPattern.star) else {
            let host = try ConfigRules.registryHost(text)
            (self.text, self.host) = (host.text, host)
            return
        }
        // A host that the pattern matches has to be a host, whatever its stars stand for.
        let sample = text.asciiLowercased.replacing("*", with: "x")
        guard RegistryHost(sample) != nil, !text.contains("**") else {
            throw Refusal("must be a registry host[:port], or one with * in it, not \(ConfigRules.shown(text))")
        }
        self.text = text.asciiLowercased
        host = nil
    }

    package var description: String { text }

    /// Whether it stands for every host.
    package var isEveryHost: Bool { text == "*" }

    /// The characters that are no `*`: of two patterns that match a host, the one with more of them is used.
    package var literalCount: Int { text.utf8.count { $0 != RegistryPattern.star } }

    package func matches(_ host: RegistryHost) -> Bool {
        if let own = self.host { return own == host }
        if isEveryHost { return true }
        return RegistryPattern.meets(Array(text.utf8), Array(host.text.utf8))
    }

    /// Whether some host is matched by both.
    package func overlaps(_ other: RegistryPattern) -> Bool {
        if let host { return other.matches(host) }
        if let host = other.host { return matches(host) }
        if isEveryHost || other.isEveryHost { return true }
        return RegistryPattern.meets(Array(text.utf8), Array(other.text.utf8))
    }

    private static let star = UInt8(ascii: "*")

    /// Whether some text is matched by both patterns; a text without a `*` is a pattern for itself. `reached` has the
    /// pairs of positions that a common beginning can lead to: at most 256 × 256 of them.
    private static func meets(_ one: [UInt8], _ other: [UInt8]) -> Bool {
        let width = other.count + 1
        // Inside a star: at least one of its characters has been seen. That doubles the positions of each.
        var reached = [Bool](repeating: false, count: (one.count + 1) * width * 4)
        var pending: [(Int, Int, Bool, Bool)] = [(0, 0, false, false)]
        while let (i, j, inOne, inOther) = pending.popLast() {
            let slot = ((i * width + j) * 2 + (inOne ? 1 : 0)) * 2 + (inOther ? 1 : 0)
            if reached[slot] { continue }
            reached[slot] = true
            if i == one.count, j == other.count { return true }
            // A star that has its one character may end.
            if inOne { pending.append((i + 1, j, false, inOther)) }
            if inOther { pending.append((i, j + 1, inOne, false)) }
            guard i < one.count, j < other.count else { continue }
            let (a, b) = (one[i], other[j])
            switch (a == star, b == star) {
            case (true, true): pending.append((i, j, true, true))
            case (true, false) where admits(b, atStart: i == 0): pending.append((i, j + 1, true, false))
            case (false, true) where admits(a, atStart: j == 0): pending.append((i + 1, j, false, true))
            case (false, false) where a == b: pending.append((i + 1, j + 1, false, false))
            default: break
            }
        }
        return false
    }

    private static func admits(_ byte: UInt8, atStart: Bool) -> Bool {
        byte != UInt8(ascii: ":") && (atStart || byte != UInt8(ascii: "."))
    }
}
