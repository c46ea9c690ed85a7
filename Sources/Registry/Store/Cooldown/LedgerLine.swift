// The lines of `LEDGER`. Each has a checksum: a cut time would be an earlier one, and end a wait too early.

package import OCI

/// A change of the ledger of `cooldown`. Times are seconds since 1970.
package enum LedgerChange: Sendable, Equatable {
    /// The cache has learned of a manifest.
    case seen(Digest, seconds: Int64)
    /// The operator has ended the wait of a manifest.
    case approved(Digest)
    /// A manifest may be pulled by its digest in a repository, `host/name`, although its wait is not over: a tag that
    /// does not wait means it.
    case admitted(Digest, repository: String)
    /// A manifest does not wait in a repository, also for its tags: an archive has brought it.
    case exempt(Digest, repository: String)
    /// A manifest is a signature of an image that is served in a repository, so that it does not wait there. What it
    /// names as an index does.
    case signature(Digest, repository: String)
    /// The system's clock has been set forward by this many seconds: what was first seen at a time or later is moved.
    /// Each has the next number, since a line can be in the file twice: after a write that failed half-way, or a
    /// rewrite.
    case moved(seconds: Int64, since: Int64, number: Int64)
    /// The upstream's tag, `host/name:tag`, has moved to a manifest whose wait is not over.
    case pending(Digest, tag: String, seconds: Int64)
    /// The tag means this manifest now; those that it meant before it are not waited for any more.
    case taken(Digest, tag: String)
    /// The clock of waits has reached this time.
    case reached(seconds: Int64)
}

extension LedgerChange {
    /// Whether the next request would not record it again.
    var isIrreplaceable: Bool {
        switch self {
        case .approved, .exempt, .moved: true
        default: false
        }
    }
}

/// Formats and parses the lines of `LEDGER`.
package enum LedgerLine {
    /// Longest line: a word, a sha512 digest, a time, and a host, a repository and a tag; then the checksum.
    package static let maximumBytes = 10 + 136 + 20 + 640 + 20

    package static func format(_ change: LedgerChange) -> [UInt8] {
        let text =
            switch change {
            case .seen(let digest, let seconds): "seen \(digest) \(seconds)"
            case .approved(let digest): "approved \(digest)"
            case .admitted(let digest, let repository): "admitted \(digest) \(repository)"
            case .exempt(let digest, let repository): "exempt \(digest) \(repository)"
            case .signature(let digest, let repository): "signature \(digest) \(repository)"
            case .moved(let seconds, let since, let number): "moved \(seconds) \(since) \(number)"
            case .pending(let digest, let tag, let seconds): "pending \(digest) \(seconds) \(tag)"
            case .taken(let digest, let tag): "taken \(digest) \(tag)"
            case .reached(let seconds): "reached \(seconds)"
            }
        return CheckedLine.format(text)
    }

    /// Parses a line without its end; nil if it is not a change.
    package static func parse(_ line: UnsafeRawBufferPointer) -> LedgerChange? {
        guard let bytes = CheckedLine.text(line, maximumBytes: maximumBytes),
            let text = String(validating: bytes, as: UTF8.self)
        else { return nil }
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        guard let kind = words.first, words.count > 1 else { return nil }
        if kind == "reached" { return words.count == 2 ? seconds(words[1]).map { .reached(seconds: $0) } : nil }
        if kind == "moved" {
            guard words.count == 4, let by = seconds(words[1]), let since = seconds(words[2]),
                let number = seconds(words[3])
            else { return nil }
            return .moved(seconds: by, since: since, number: number)
        }
        guard let digest = Digest(String(words[1])) else { return nil }
        switch (kind, words.count) {
        case ("seen", 3): return seconds(words[2]).map { .seen(digest, seconds: $0) }
        case ("approved", 2): return .approved(digest)
        case ("admitted", 3): return .admitted(digest, repository: String(words[2]))
        case ("exempt", 3): return .exempt(digest, repository: String(words[2]))
        case ("signature", 3): return .signature(digest, repository: String(words[2]))
        case ("pending", 4): return seconds(words[2]).map { .pending(digest, tag: String(words[3]), seconds: $0) }
        case ("taken", 3): return .taken(digest, tag: String(words[2]))
        default: return nil
        }
    }

    private static func seconds(_ text: Substring) -> Int64? {
        OutsideNumber.decimal(String(text), in: OutsideNumber.seconds)
    }
}
