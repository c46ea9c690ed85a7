// Gzip members as the gzip program reads them.

import TestSupport
import Testing

@testable import ImageArchive

@Suite struct GzipTests {
    /// Bytes that cannot be compressed have to fit as well.
    @Test(
        "a gzip member decompresses to its input, and equal inputs give equal bytes",
        arguments: [0, 1, 1000, 65_536, 1_000_003])
    func roundTrip(_ count: Int) throws {
        let random = pattern(count, seed: 7)
        let text = Array(repeating: Array("ociregistry_pulls_total 0\n".utf8), count: count / 26 + 1).flatMap { $0 }
        for bytes in [random, Array(text.prefix(count))] {
            let member = try #require(Gzip.member(of: bytes))
            #expect(member.prefix(2) == [0x1F, 0x8B] && member == Gzip.member(of: bytes))
            #expect(try gunzip(member) == bytes)
        }
    }
}
