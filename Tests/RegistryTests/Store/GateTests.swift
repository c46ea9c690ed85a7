// The gate that limits concurrent actions.

import Testing

@testable import Registry

@Suite struct GateTests {
    /// A refresh of a large cache that is stopped has hundreds of thousands of actions that end at once.
    @Test("actions that leave at once need no stack for each of them") func depth() {
        let gate = Gate(limit: 2)
        var ended = 0
        gate.enter {}
        gate.enter {}
        for _ in 0..<300_000 {
            gate.enter {
                ended += 1
                gate.leave()
            }
        }
        #expect(ended == 0)
        gate.leave()
        #expect(ended == 300_000)
        gate.leave()
        gate.enter { ended += 1 }
        gate.enter { ended += 1 }
        gate.enter { ended += 1 }
        #expect(ended == 300_002, "the limit still holds")
    }

    @Test("actions run in the order of their calls") func order() {
        let gate = Gate(limit: 1)
        var order: [Int] = []
        gate.enter {}
        for number in 0..<5 {
            gate.enter {
                order.append(number)
                if number == 1 { gate.enter { order.append(9) } }
                gate.leave()
            }
        }
        #expect(order.isEmpty)
        gate.leave()
        #expect(order == [0, 1, 2, 3, 4, 9])
    }
}
