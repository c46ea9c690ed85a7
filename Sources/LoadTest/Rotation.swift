// The order of pulls: the pullers share one cursor that cycles through the catalog. For pull-through, a batch whose
// images have all been pulled is pruned before its next round, so that each pull is a miss. Pure.

/// Hands out the images in order.
struct Rotation {
    enum Next: Equatable {
        case image(Int)
        /// The next batch is still in the cache: wait until it is pruned.
        case wait
        /// Each image has been handed out once, and only one round was requested.
        case end
    }

    private enum State { case cold, filling, full, pruning }

    private let batchOf: [Int]
    private let endsAfterOne: Bool
    private let prunes: Bool
    private var next = 0
    private var states: [State]
    private var underWay: [Int]

    /// - Parameters:
    ///   - batchOf: each image's batch; the images of a batch are adjacent.
    ///   - prunes: whether a batch has to be pruned before it is pulled again.
    init(batchOf: [Int], prunes: Bool, endsAfterOne: Bool = false) {
        self.batchOf = batchOf
        self.prunes = prunes
        self.endsAfterOne = endsAfterOne
        let count = (batchOf.max() ?? -1) + 1
        states = Array(repeating: .cold, count: count)
        underWay = Array(repeating: 0, count: count)
    }

    mutating func take() -> Next {
        if next == batchOf.count {
            guard !endsAfterOne else { return .end }
            next = 0
        }
        let image = next
        let batch = batchOf[image]
        if prunes {
            guard states[batch] == .cold || states[batch] == .filling else { return .wait }
            let isLast = image + 1 == batchOf.count || batchOf[image + 1] != batch
            states[batch] = isLast ? .full : .filling
            underWay[batch] += 1
        }
        next += 1
        return .image(image)
    }

    /// Records the end of a pull, successful or not.
    /// - Returns: the batch to prune now.
    mutating func ended(_ image: Int) -> Int? {
        guard prunes else { return nil }
        let batch = batchOf[image]
        underWay[batch] -= 1
        guard underWay[batch] == 0, states[batch] == .full else { return nil }
        states[batch] = .pruning
        return batch
    }

    mutating func pruned(_ batch: Int) { states[batch] = .cold }
}

/// The number of pullers in each step: doubling up to `most`, then down again.
enum Ramp {
    static func steps(most: Int) -> [Int] {
        var up: [Int] = []
        var count = 1
        while count < most {
            up.append(count)
            count *= 2
        }
        return up + [most] + up.reversed()
    }
}
