// A content digest as registries write it. The value is plain memory (no heap, no reference counting), because every
// request on the hot path creates one from its target and looks it up.

/// The digest of some content: an algorithm and its raw hash bytes.
///
/// Source: OCI image-spec, descriptor.md, "Digests". Only the registered algorithms are accepted, in canonical form.
package struct Digest: Sendable, BitwiseCopyable {
    /// A registered digest algorithm.
    package enum Algorithm: UInt8, CaseIterable, Sendable, BitwiseCopyable {
        case sha256
        case sha512

        /// The name before the colon.
        package var name: String {
            switch self {
            case .sha256: "sha256"
            case .sha512: "sha512"
            }
        }

        /// Length of the raw hash in bytes.
        @inlinable package var byteCount: Int {
            switch self {
            case .sha256: 32
            case .sha512: 64
            }
        }

        /// Length of `name` in ASCII bytes; both registered names are six long.
        fileprivate static let nameLength = 6
    }

    package typealias Words = (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)

    package let algorithm: Algorithm
    /// The raw hash, eight bytes a word in memory order; unused words are zero.
    @usableFromInline let words: Words

    /// The first eight bytes of the hash, to spread tables by.
    @inlinable package var firstWord: UInt64 { words.0 }

    /// Reads `sha256:` or `sha512:` followed by lower-case hexadecimal of the exact length; anything else is nil.
    package init?(ascii text: UnsafeRawBufferPointer) {
        let prefix = Algorithm.nameLength + 1
        guard text.count > prefix, text[0] == 0x73, text[1] == 0x68, text[2] == 0x61, text[6] == 0x3A else {
            return nil
        }
        let algorithm: Algorithm
        switch (text[3], text[4], text[5]) {
        case (0x32, 0x35, 0x36): algorithm = .sha256
        case (0x35, 0x31, 0x32): algorithm = .sha512
        default: return nil
        }
        guard text.count == prefix + 2 * algorithm.byteCount else { return nil }
        var words: Words = (0, 0, 0, 0, 0, 0, 0, 0)
        let valid = withUnsafeMutableBytes(of: &words) { raw -> Bool in
            var bad: UInt8 = 0
            for index in 0..<algorithm.byteCount {
                let high = Digest.nibble(text[prefix + 2 * index])
                let low = Digest.nibble(text[prefix + 2 * index + 1])
                bad |= high | low
                raw[index] = (high << 4) | (low & 0x0F)
            }
            return bad & 0xF0 == 0
        }
        guard valid else { return nil }
        self.algorithm = algorithm
        self.words = words
    }

    /// Reads the text form, as `init?(ascii:)` does.
    package init?(_ text: some StringProtocol) {
        var copy = String(text)
        let parsed = copy.withUTF8 { Digest(ascii: UnsafeRawBufferPointer($0)) }
        guard let parsed else { return nil }
        self = parsed
    }

    /// Takes the raw hash bytes; nil unless their number is the algorithm's.
    package init?(algorithm: Algorithm, bytes: UnsafeRawBufferPointer) {
        guard bytes.count == algorithm.byteCount else { return nil }
        var words: Words = (0, 0, 0, 0, 0, 0, 0, 0)
        withUnsafeMutableBytes(of: &words) { $0.copyMemory(from: bytes) }
        self.algorithm = algorithm
        self.words = words
    }

    /// A sha256 digest in half the memory of a `Digest`, for very large tables.
    package struct Short: Sendable, Hashable {
        @usableFromInline let words: (UInt64, UInt64, UInt64, UInt64)

        /// Nil for any other algorithm.
        package init?(_ digest: Digest) {
            guard digest.algorithm == .sha256 else { return nil }
            words = (digest.words.0, digest.words.1, digest.words.2, digest.words.3)
        }

        /// A byte of the hash, as evenly distributed as a random byte.
        package var anyByte: Int { Int(truncatingIfNeeded: words.3 & 0xFF) }

        package var digest: Digest {
            Digest(algorithm: .sha256, words: (words.0, words.1, words.2, words.3, 0, 0, 0, 0))
        }

        @inlinable
        package static func == (left: Short, right: Short) -> Bool { left.words == right.words }

        @inlinable
        package func hash(into hasher: inout Hasher) {
            // All of them: anybody can write digests that share some bytes.
            hasher.combine(words.0)
            hasher.combine(words.1)
            hasher.combine(words.2)
            hasher.combine(words.3)
        }
    }

    private init(algorithm: Algorithm, words: Words) {
        self.algorithm = algorithm
        self.words = words
    }

    /// The hash in lower-case hexadecimal, without the algorithm.
    package var hex: String {
        String(unsafeUninitializedCapacity: 2 * algorithm.byteCount) { target in
            withUnsafeBytes(of: words) { raw in
                for index in 0..<algorithm.byteCount {
                    target[2 * index] = ASCII.hexadecimalDigit(raw[index] >> 4)
                    target[2 * index + 1] = ASCII.hexadecimalDigit(raw[index] & 0x0F)
                }
            }
            return 2 * algorithm.byteCount
        }
    }

    /// The value of a hexadecimal digit, or 0xF0 for any other byte; upper case is not canonical and is refused.
    @inline(__always)
    private static func nibble(_ byte: UInt8) -> UInt8 {
        let digit = byte &- 0x30
        if digit < 10 { return digit }
        let letter = byte &- 0x61
        return letter < 6 ? letter + 10 : 0xF0
    }
}

extension Digest: Hashable {
    @inlinable
    package static func == (left: Digest, right: Digest) -> Bool {
        left.algorithm == right.algorithm
            && (left.words.0, left.words.1, left.words.2, left.words.3)
                == (right.words.0, right.words.1, right.words.2, right.words.3)
            && (left.words.4, left.words.5, left.words.6, left.words.7)
                == (right.words.4, right.words.5, right.words.6, right.words.7)
    }

    /// The whole hash: anybody can write digests that share some bytes.
    @inlinable
    package func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
        hasher.combine(words.2)
        hasher.combine(words.3)
        guard algorithm == .sha512 else { return }
        hasher.combine(words.4)
        hasher.combine(words.5)
        hasher.combine(words.6)
        hasher.combine(words.7)
    }
}

extension Digest: CustomStringConvertible {
    package var description: String { "\(algorithm.name):\(hex)" }
}
