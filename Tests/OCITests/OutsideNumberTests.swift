// Numbers from outside are read within their ranges, and sums of them stop at their bounds.

import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct OutsideNumberTests {
    @Test("a decimal number is digits only, inside its range")
    func decimals() {
        let expected: [String: Int64] = [
            "0": 0, "1": 1, "2147483647": 2_147_483_647, "2147483648": 2_147_483_648, "2147483649": 2_147_483_649,
            "4294967295": 4_294_967_295, "4294967296": 4_294_967_296, "9007199254740992": 9_007_199_254_740_992,
            "17592186044415": 17_592_186_044_415, "17592186044416": 17_592_186_044_416,
            "17592186044417": 17_592_186_044_417, "4611686018427387904": 1 << 62, "9223372036854775806": .max - 1,
            "9223372036854775807": .max, "007": 7, String(repeating: "0", count: 40) + "7": 7,
        ]
        for text in Extremes.texts {
            #expect(OutsideNumber.decimal(text, in: 0...Int64.max) == expected[text], "\(text)")
            let clamped = OutsideNumber.decimal(text, clampedTo: 5...Int64(1000))
            let isNumber = Extremes.digits.contains(text)
            #expect(clamped == (isNumber ? min(max(expected[text] ?? .max, 5), 1000) : nil), "\(text)")
            let port = OutsideNumber.decimal(text, in: 1...UInt16.max)
            #expect(port == expected[text].flatMap { (1...65535).contains($0) ? UInt16(clamping: $0) : nil }, "\(text)")
        }
    }

    @Test("a number above UInt64.max is refused, or clamped where the caller wants it")
    func unsigned() {
        #expect(OutsideNumber.decimal("18446744073709551614", in: 0...UInt64.max) == UInt64.max - 1)
        #expect(OutsideNumber.decimal("18446744073709551616", in: 0...UInt64.max) == nil)
        #expect(OutsideNumber.decimal("18446744073709551616", clampedTo: 0...UInt64.max) == .max)
    }

    @Test("a signed number has at most one minus sign")
    func signed() {
        let all = Int64.min + 1...Int64.max
        #expect(OutsideNumber.signedDecimal("-9223372036854775807", in: all) == .min + 1)
        #expect(OutsideNumber.signedDecimal("-9223372036854775808", in: all) == nil)
        #expect(OutsideNumber.signedDecimal("-5", in: -5...5) == -5)
        #expect(OutsideNumber.signedDecimal("-6", in: -5...5) == nil)
        #expect(OutsideNumber.signedDecimal("5", in: -5...5) == 5)
        for text in ["-", "--5", "-+5", "- 5", "", "+5"] {
            #expect(OutsideNumber.signedDecimal(text, in: all) == nil, "\(text)")
        }
    }

    @Test("a hexadecimal number is bounded and has no sign")
    func hexadecimals() {
        #expect(OutsideNumber.hexadecimal("fF", atMost: 255) == 255)
        #expect(OutsideNumber.hexadecimal("100", atMost: 255) == nil)
        for text in ["", "-1", "+1", "0x1", "g", "7fffffffffffffff1", "ffffffffffffffff", " 1"] {
            #expect(OutsideNumber.hexadecimal(text, atMost: 1 << 40) == nil, "\(text)")
        }
        #expect(OutsideNumber.hexadecimal("7fffffffffffffff", atMost: .max) == .max)
    }

    @Test("a size is from 0 to 16 TiB")
    func sizes() {
        #expect(ContentSize.read("17592186044416") == .bytes(ContentSize.maximum))
        #expect(ContentSize.read("17592186044417") == .tooLarge)
        for text in Extremes.words { #expect(ContentSize.read(text) == .malformed, "\(text)") }
        for text in Extremes.digits { #expect(ContentSize.read(text) != .malformed, "\(text)") }
        for number in Extremes.numbers {
            #expect(ContentSize.accepted(number) == ((0...ContentSize.maximum).contains(number) ? number : nil))
            #expect((0...ContentSize.maximum).contains(ContentSize.nearest(number)))
            #expect(OutsideNumber.seconds.contains(OutsideNumber.nearestSeconds(number)))
        }
        #expect(ContentSize.nearest(UInt64.max) == ContentSize.maximum)
    }

    @Test("a file system's size is computed for any number of blocks")
    func fileSystems() {
        let numbers: [UInt64] = [0, 1, 4096, 1 << 32, 1 << 52, 1 << 62, 1 << 63, .max - 1, .max]
        for blocks in numbers {
            for block in numbers {
                let product = blocks.multipliedReportingOverflow(by: block)
                let exact = product.overflow ? nil : Int64(exactly: product.partialValue)
                #expect(ContentSize.fileSystemBytes(blocks: blocks, blockBytes: block) == exact ?? .max)
            }
        }
    }

    @Test("saturating arithmetic is exact where the result fits, and clamped otherwise")
    func saturation() {
        for a in Extremes.numbers {
            for b in Extremes.numbers {
                let sum = a.addingReportingOverflow(b)
                #expect(a.addingSaturated(b) == (sum.overflow ? (b < 0 ? .min : .max) : sum.partialValue))
                let difference = a.subtractingReportingOverflow(b)
                let bound: Int64 = b > 0 ? .min : .max
                #expect(a.subtractingSaturated(b) == (difference.overflow ? bound : difference.partialValue))
                let product = a.multipliedReportingOverflow(by: b)
                let end: Int64 = (a < 0) == (b < 0) ? .max : .min
                #expect(a.multipliedSaturated(by: b) == (product.overflow ? end : product.partialValue))
            }
        }
        #expect(UInt8(3).subtractingSaturated(5) == 0 && UInt8(250).addingSaturated(10) == 255)
        #expect(UInt64.max.multipliedSaturated(by: 2) == .max)
        #expect(Extremes.numbers.filter { $0 > 0 }.saturatedSum { $0 } == .max)
        #expect([Int64]().saturatedSum { $0 } == 0)
    }

    @Test(
        "floating-point numbers are truncated to integers and clamped to the range",
        arguments: [
            (0.0, 0), (-0.9, 0), (1.9, 1), (-1.9, -1), (1e300, .max), (-1e300, .min), (.infinity, .max),
            (-.infinity, .min), (.nan, 0), (9.3e18, .max), (-9.3e18, .min), (4e18, 4_000_000_000_000_000_000),
        ] as [(Double, Int64)])
    func reals(_ real: Double, _ integer: Int64) {
        #expect(Int64(saturating: real) == integer)
    }
}
