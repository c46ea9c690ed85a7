// The lines of PROOFS, whole, cut and changed.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct ProofLineTests {
    static let digest = digestOf([1])
    static let changes: [ProofChange] = [
        .add(digest, repository: "registry.example:5000/team/app"),
        .add(digestOf([1], .sha512), repository: "docker.io/library/debian"),
        .removeContent(digest), .removeRepository("registry.example/team/app"),
    ]

    private func parse(_ bytes: some Sequence<UInt8>) -> ProofChange? {
        Array(bytes).withUnsafeBytes { ProofLine.parse($0) }
    }

    @Test("a line is read as it was written", arguments: changes) func roundTrip(_ change: ProofChange) {
        let line = ProofLine.format(change)
        #expect(line.last == 0x0A && line.count <= ProofLine.maximumBytes)
        #expect(parse(line.dropLast()) == change)
    }

    @Test("a truncated line is rejected", arguments: changes) func cut(_ change: ProofChange) {
        let line = ProofLine.format(change).dropLast()
        for count in 0..<line.count { #expect(parse(line.prefix(count)) == nil, "\(count) bytes") }
    }

    @Test("a line with a flipped bit is rejected", arguments: changes) func changed(_ change: ProofChange) {
        let line = Array(ProofLine.format(change).dropLast())
        for index in line.indices {
            for bit in 0..<8 {
                var other = line
                other[index] ^= 1 << bit
                #expect(parse(other) == nil, "byte \(index), bit \(bit)")
            }
        }
    }

    @Test("a line with a valid checksum and an invalid name is rejected")
    func names() {
        let digest = "\(Self.digest)"
        for text in [
            "+ \(digest) registry.example", "+ \(digest) registry.example/UPPER", "+ \(digest)", "* \(digest)",
        ] {
            let check = text.utf8.withContiguousStorageIfAvailable { SHA256.hash(UnsafeRawBufferPointer($0)) }
            let line = "\(text) \(check?.hex.prefix(CheckedLine.checkDigits) ?? "")"
            #expect(parse(line.utf8) == nil, "\(text)")
        }
    }

    @Test("a header has a size, and is no change") func header() {
        let line = Array(ProofLine.header(bytes: 12345).dropLast())
        #expect(line.withUnsafeBytes { ProofLine.parseHeader($0) } == 12345)
        #expect(parse(line) == nil)
    }
}
