// Generated content and its digest.

package import OCI

package func digestOf(_ bytes: [UInt8], _ algorithm: Digest.Algorithm = .sha256) -> Digest {
    bytes.withUnsafeBytes { Digest.of($0, algorithm) }
}

/// Bytes without a pattern that compression or sparse files could exploit; the same seed gives the same bytes.
package func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
        for index in 0..<count {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            buffer[index] = UInt8(truncatingIfNeeded: state)
        }
        filled = count
    }
}
