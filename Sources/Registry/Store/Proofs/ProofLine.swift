// The lines of `PROOFS`. Each ends with a checksum: a line that was cut by a crash, or changed by a failing disk, must
// not be read as a line about another repository.

package import OCI

/// A change of the index of proofs.
package enum ProofChange: Sendable, Equatable {
    /// The content may be served in this repository, `host/name`.
    case add(Digest, repository: String)
    /// The content has left the cache.
    case removeContent(Digest)
    /// No image of this repository is left in the cache.
    case removeRepository(String)
}

/// Formats and parses the lines of `PROOFS`.
package enum ProofLine {
    /// Longest line: a mark, a sha512 digest, and a host and a repository of 255 bytes each with a slash, each followed
    /// by a space; then the checksum and the line end.
    package static let maximumBytes = 2 + 136 + 512 + CheckedLine.checkDigits + 1

    package static func format(_ change: ProofChange) -> [UInt8] {
        switch change {
        case .add(let digest, let repository): line("+ \(digest) \(repository)")
        case .removeContent(let digest): line("- \(digest)")
        case .removeRepository(let repository): line("- \(repository)")
        }
    }

    /// The first line of a rewritten file: its size in bytes, without this line.
    package static func header(bytes: Int64) -> [UInt8] { line("# \(bytes)") }

    /// Parses a line without its end; nil if it is not a change.
    package static func parse(_ line: UnsafeRawBufferPointer) -> ProofChange? {
        guard let text = checked(line), text.count > 2, text[1] == 0x20 else { return nil }
        let rest = UnsafeRawBufferPointer(rebasing: text[2...])
        switch text[0] {
        case UInt8(ascii: "+"):
            guard let space = rest.firstIndex(of: 0x20),
                let digest = Digest(ascii: UnsafeRawBufferPointer(rebasing: rest[..<space])),
                let name = repository(UnsafeRawBufferPointer(rebasing: rest[(space + 1)...]))
            else { return nil }
            return .add(digest, repository: name)
        case UInt8(ascii: "-"):
            if let digest = Digest(ascii: rest) { return .removeContent(digest) }
            return repository(rest).map { .removeRepository($0) }
        default: return nil
        }
    }

    /// Parses the first line of a rewritten file; nil for any other line.
    package static func parseHeader(_ line: UnsafeRawBufferPointer) -> Int64? {
        guard let text = checked(line), text.starts(with: "# ".utf8) else { return nil }
        return OutsideNumber.decimal(String(decoding: text[2...], as: UTF8.self), in: 0...ContentSize.maximum)
    }

    private static func line(_ text: String) -> [UInt8] { CheckedLine.format(text) }

    private static func checked(_ line: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        CheckedLine.text(line, maximumBytes: maximumBytes)
    }

    static func repository(_ text: UnsafeRawBufferPointer) -> String? {
        guard let slash = text.firstIndex(of: 0x2F), slash > 0,
            RepositoryName.isValid(UnsafeRawBufferPointer(rebasing: text[(slash + 1)...]))
        else { return nil }
        return String(validating: text, as: UTF8.self)
    }
}
