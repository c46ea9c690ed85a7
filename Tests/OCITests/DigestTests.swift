import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct DigestTests {
    static let hex256 = String(repeating: "0123456789abcdef", count: 4)
    static let hex512 = String(repeating: "0123456789abcdef", count: 8)

    @Test(
        "a canonical sha256 or sha512 digest parses and prints unchanged",
        arguments: ["sha256:" + hex256, "sha512:" + hex512])
    func roundTrips(text: String) throws {
        let digest = try #require(Digest(text))
        #expect(digest.description == text)
        #expect("\(digest.algorithm.name):\(digest.hex)" == text)
    }

    @Test(
        "a digest with another algorithm, length, case or character is refused",
        arguments: [
            "", "sha256:", "sha256", hex256, "sha256:" + hex512, "sha512:" + hex256, "sha256:" + hex256.uppercased(),
            "SHA256:" + hex256, "sha384:" + hex256, "sha256:" + String(hex256.dropLast()) + "g",
            "sha256:" + hex256 + " ",
            "sha256:" + String(repeating: "é", count: 32), "md5:d41d8cd98f00b204e9800998ecf8427e",
        ])
    func nonCanonicalForms(text: String) {
        #expect(Digest(text) == nil)
    }

    @Test("digests of different algorithms are never equal") func algorithms() throws {
        let short = try #require(Digest("sha256:" + String(repeating: "0", count: 64)))
        let long = try #require(Digest("sha512:" + String(repeating: "0", count: 128)))
        #expect(short != long)
    }

    @Test("digests that differ only in the last byte are unequal and hash separately") func lastByte() throws {
        let one = try #require(Digest("sha512:" + Self.hex512))
        let other = try #require(Digest("sha512:" + Self.hex512.dropLast() + "0"))
        #expect(one != other)
        #expect(Set([one, other, one]).count == 2)
    }
}
