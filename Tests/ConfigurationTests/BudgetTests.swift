// How much fits, and how much has to leave.

import TestSupport
import Testing

@testable import Configuration
@testable import Registry

@Suite struct BudgetTests {
    private func budget(_ maxBytes: Int64?, _ minFreeBytes: Int64? = nil) -> Budget {
        var budget = Budget()
        (budget.maxBytes, budget.minFreeBytes) = (maxBytes, minFreeBytes)
        return budget
    }

    @Test(
        "a budget computes fit, high watermark and excess from used and free bytes",
        arguments: [
            // used, free, wanted; fits, high, excess
            (1000, nil, 0, 9000, 900, true, false, 0), (1000, nil, 900, 100, 100, true, false, 0),
            (1000, nil, 900, 200, 101, false, false, 50), (1000, nil, 1000, 900, 500, false, true, 500),
            (1000, nil, 951, 9, 0, true, true, 101), (1000, nil, 10, 9000, 1001, false, false, 0),
            (1000, nil, 10, 40, 100, false, false, 60),
            (nil, 1000, 5, 2000, 1000, true, false, 0), (nil, 1000, 5, 2000, 1001, false, false, 151),
            (nil, 1000, 5, 1049, 0, true, true, 101), (nil, 1000, 5, 400, 0, false, true, 750),
            (nil, nil, 5, 9, 3, true, false, 0),
            (1 << 60, 1 << 60, 0, 0, 1, false, true, 1_325_859_730_297_874_023),
        ] as [(Int64?, Int64?, Int64, Int64, Int64, Bool, Bool, Int64)])
    func levels(_ row: (Int64?, Int64?, Int64, Int64, Int64, Bool, Bool, Int64)) {
        let budget = budget(row.0, row.1)
        let levels = Budget.Levels(usedBytes: row.2, freeBytes: row.3)
        #expect(budget.fits(row.4, levels) == row.5)
        #expect(budget.isHigh(levels) == row.6)
        #expect(budget.excess(row.4, levels) == row.7)
    }

    /// What leaves is enough for what is wanted, whenever that can fit at all.
    @Test("removing the excess makes room for any request that is within the maximum") func excessIsEnough() {
        var random = SeededRandom(seed: 5)
        for _ in 0..<10_000 {
            let maximum = Int64(random.next() % 1000) + 1
            let used = Int64(random.next() % UInt64(2 * maximum))
            let wanted = Int64(random.next() % UInt64(maximum))
            let budget = budget(maximum)
            let excess = budget.excess(wanted, Budget.Levels(usedBytes: used, freeBytes: wanted))
            #expect(excess >= 0 && excess <= used)
            #expect(budget.fits(wanted, Budget.Levels(usedBytes: used - excess, freeBytes: wanted)))
        }
    }
}
