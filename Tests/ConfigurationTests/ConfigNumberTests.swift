// The numbers of a configuration, and what is computed with them, at the ends of what fits.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ConfigNumberTests {
    /// A rule's value as a number; nil where it refuses the text.
    private static func value<T: BinaryInteger>(_ rule: (String) throws(Refusal) -> T?, _ text: String) -> Int64? {
        do throws(Refusal) { return try rule(text).map { Int64($0) } } catch { return nil }
    }

    @Test("every numeric key accepts a number in its range and refuses any other", arguments: Extremes.texts)
    func rules(_ text: String) {
        let plain = OutsideNumber.decimal(text, in: 0...Int64.max)
        func among(_ range: ClosedRange<Int64>) -> Int64? { plain.flatMap { range.contains($0) ? $0 : nil } }
        #expect(Self.value(ConfigRules.port, text) == among(0...65535))
        #expect(Self.value(ConfigRules.timeoutMilliseconds, text) == among(1...86_400_000))
        #expect(Self.value(ConfigRules.percent, text) == among(1...100))
        #expect(Self.value(ConfigRules.countLimit, text) == among(1...Int64.max))
        #expect(Self.value(ConfigRules.sizeBytes, text) == (text == "5 " ? 5 : among(1...1 << 60)))
        for unit in ["B", "KB", "TB", "KiB", "TiB"] {
            #expect(Self.value(ConfigRules.sizeBytes, text + unit).map { (1...1 << 60).contains($0) } ?? true)
        }
        for unit in ["ns", "us", "µs", "ms", "s", "m", "h", "d"] {
            let age = try? Age(text + unit)
            #expect(age.map { (1...Age.maximumNanoseconds).contains($0.nanoseconds) } ?? true)
            for now in Extremes.numbers where now > Int64.min / 2 { _ = age?.before(nowSeconds: now) }
            #expect(Self.value(ConfigRules.ageSeconds, text + unit).map { $0 > 0 } ?? true)
        }
        #expect((try? ConfigRules.listenPoint("127.0.0.1:\(text)"))?.port == among(0...65535).map { UInt16($0) })
        #expect((RegistryHost("a.b:\(text)") != nil) == (among(1...65535) != nil && text.utf8.count <= 5))
    }

    @Test("a budget computes fit and excess for any levels and any request without overflow")
    func budgets() {
        let numbers = Extremes.numbers
        for maximum in numbers.map(Optional.some) + [nil] {
            for least in numbers.map(Optional.some) + [nil] {
                var budget = Budget()
                (budget.maxBytes, budget.minFreeBytes) = (maximum, least)
                for used in numbers {
                    for free in numbers {
                        let levels = Budget.Levels(usedBytes: used, freeBytes: free)
                        _ = budget.isHigh(levels)
                        for wanted in [0, 1, ContentSize.maximum, Int64.max] {
                            #expect(budget.excess(wanted, levels) >= 0)
                            let fits = budget.fits(wanted, levels)
                            #expect(fits == (budget.isUnlimited || budget.room(levels) >= wanted))
                        }
                    }
                }
            }
        }
    }

    @Test("two requests for the largest number of bytes are refused, and their sum does not overflow")
    func reservations() {
        var budget = Budget()
        budget.maxBytes = 1 << 60
        let levels = Budget.Levels(usedBytes: Int64.max, freeBytes: .max)
        #expect(!budget.fits(.max, levels) && budget.excess(.max, levels) == 0)
        budget = Budget()
        budget.minFreeBytes = 1
        #expect(!budget.fits(.max, Budget.Levels(usedBytes: 0, freeBytes: .max)))
        #expect(budget.excess(.max, Budget.Levels(usedBytes: 0, freeBytes: 5)) > 0)
    }
}
