// Fuzzes arithmetic on numbers from outside: budgets, times, and the events of a pull.

import Configuration
import OCI
import Registry

enum NumberEntries {
    static func run(_ bytes: UnsafeRawBufferPointer) {
        var input = InputReader(bytes)
        var budget = Budget()
        let choice = input.byte()
        if choice & 1 != 0 { budget.maxBytes = input.number() }
        if choice & 2 != 0 { budget.minFreeBytes = input.number() }
        let levels = Budget.Levels(usedBytes: input.number(), freeBytes: input.number())
        let wanted = input.number()
        require(budget.excess(wanted, levels) >= 0, "\(budget) \(levels) \(wanted)")
        require(budget.fits(wanted, levels) == (budget.isUnlimited || budget.room(levels) >= wanted), "\(budget)")
        _ = budget.isHigh(levels)
        let number = input.number()
        require(HTTPDate.format(unixSeconds: number).count == HTTPDate.byteCount, "\(number)")
        _ = LocalTime.text(number)
        let blocks = UInt64(bitPattern: input.number())
        let space = ContentSize.fileSystemBytes(blocks: blocks, blockBytes: UInt64(bitPattern: number))
        require(space >= 0, "\(space)")
        _ = Int64(saturating: Double(bitPattern: blocks))
    }

    /// One byte for each event, followed by its numbers.
    static func pull(_ bytes: UnsafeRawBufferPointer) {
        var input = InputReader(bytes)
        var machine = PullMachine(firstBackOffMilliseconds: UInt64(bitPattern: input.number()))
        while !input.rest.isEmpty {
            let choice = input.byte()
            let event: PullMachine.Event =
                switch choice & 7 {
                case 0: .opened(offset: input.size())
                case 1, 2:
                    .answered(
                        .init(
                            status: [200, 206, 416, 500][Int(choice >> 3 & 3)],
                            contentLength: choice & 32 != 0 ? input.size() : nil,
                            rangeFirst: choice & 64 != 0 ? input.size() : nil,
                            rangeTotal: choice & 128 != 0 ? input.size() : nil))
                case 3: .reserved
                case 4: .bodyEnded(total: input.size())
                case 5: .broke(.unavailable("fuzz"), received: input.size())
                case 6: choice & 8 != 0 ? .backOffElapsed : .committed
                default: .verified(choice & 8 != 0)
                }
            for action in machine.handle(event) {
                switch action {
                case .request(let offset): require(offset >= 0, "asks from \(offset)")
                case .skip(let count): require(count > 0, "skips \(count)")
                default: break
                }
            }
        }
    }
}
