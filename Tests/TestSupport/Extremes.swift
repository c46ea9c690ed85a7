// Numbers at the limits of their types, and texts that look like numbers, for all code that parses numbers from
// outside.

package enum Extremes {
    /// Digits only; each one is a number.
    package static let digits = [
        "0", "1", "2147483647", "2147483648", "2147483649", "4294967295", "4294967296", "9007199254740992",
        "17592186044415", "17592186044416", "17592186044417", "4611686018427387904", "9223372036854775806",
        "9223372036854775807", "9223372036854775808", "18446744073709551614", "18446744073709551615",
        "18446744073709551616", "1" + String(repeating: "0", count: 30), String(repeating: "9", count: 400),
        "007", String(repeating: "0", count: 40) + "7",
    ]

    /// Texts that are not numbers.
    package static let words = [
        "", " ", "-", "+", "+5", "-5", " 5", "5 ", "\t5", "5\n", "5,", "1_000", "0x10", "1e3", "5.0", "٣", "½", "NaN",
        "inf", "-9223372036854775808", "--5", "5-", "\u{0}5",
    ]

    package static let texts = digits + words

    package static let numbers: [Int64] = [
        .min, .min + 1, -17_592_186_044_417, -2_147_483_649, -2_147_483_648, -1, 0, 1, 2_147_483_647, 2_147_483_648,
        9_007_199_254_740_992, 17_592_186_044_415, 17_592_186_044_416, 17_592_186_044_417, 1 << 60, .max - 1, .max,
    ]

    /// JSON values, valid numbers and others.
    package static let json =
        digits.filter { !$0.hasPrefix("00") }
        + [
            "-1", "-9223372036854775808", "-9223372036854775809", "0.5", "-0.0", "5.0", "5e2", "1e19", "1e300",
            "-1e300",
        ]
        + ["\"5\"", "\"\"", "null", "true", "[]", "[5]", "{}"]
}
