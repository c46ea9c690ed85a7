// What ready means, asked of the disk by way of the thread pool. A server is ready while it can serve what is cached: a
// fleet whose disks are full still serves, and a balancer must not drop it. Whether something new could be stored is a
// separate check, made for `/readyz?pull` and for the metrics.

/// The checks of the disk. However many clients ask, the pool has one job of each check at a time, so that requests do
/// not add work to a pool that is stuck.
package final class ReadinessProbes {
    /// When the pool has not answered for so long, the server is not ready: no client waits as long for a file.
    static let deadlineMilliseconds: UInt64 = 2_000

    /// The outcome of asking whether something new could be stored.
    enum Pulling {
        /// Nothing is ever pulled, so nothing needs room.
        case never
        case asked(PoolProbe<Result<DiskReport, StoreError>>.Outcome)

        /// Whether a new pull could be stored.
        var isReady: Bool {
            switch self {
            case .never: true
            case .asked(.late): false
            case .asked(.answered(let result, _)):
                if case .success(let disk) = result { !disk.isFull && !disk.lacksInodes } else { false }
            }
        }
    }

    let deadlineMilliseconds: UInt64
    private let loop: EventLoop
    /// Nil when what is cached can be read.
    let reading: PoolProbe<StoreError?>
    /// Nil: nothing is ever pulled.
    private let storing: PoolProbe<Result<DiskReport, StoreError>>?

    /// - Parameter pulls: false for an air-gapped server, which never stores what a client asks for.
    package convenience init(on loop: EventLoop, store: Store, pulls: Bool) {
        self.init(on: loop, store: store, pulls: pulls, deadlineMilliseconds: ReadinessProbes.deadlineMilliseconds)
    }

    init(on loop: EventLoop, store: Store, pulls: Bool, deadlineMilliseconds: UInt64) {
        self.loop = loop
        self.deadlineMilliseconds = deadlineMilliseconds
        reading = PoolProbe(on: loop, deadlineMilliseconds: deadlineMilliseconds) { store.checkReading(then: $0) }
        storing =
            pulls
            ? PoolProbe(on: loop, deadlineMilliseconds: deadlineMilliseconds) { store.lookAtDisk(then: $0) } : nil
    }

    /// Asks whether something new could be stored.
    func askPulling(then: @escaping (Pulling) -> Void) {
        guard let storing else { return loop.deferred.complete(then, .never) }
        storing.ask { then(.asked($0)) }
    }
}

/// What is known when somebody asks whether the server is ready.
struct Readiness {
    var isStopping = false
    var isRecovered = true
    /// Whether being able to store something new is part of being ready.
    var asksForPulls = false
    /// Nil: not asked.
    var reading: PoolProbe<StoreError?>.Outcome?
    /// Nil: not asked.
    var pulling: ReadinessProbes.Pulling?
    var deadlineMilliseconds = ReadinessProbes.deadlineMilliseconds

    private struct Check {
        let isGood: Bool
        var isRequired = true
        let text: String
    }

    var isReady: Bool { failures.isEmpty }

    /// A line for each required check that fails.
    var failures: [String] { checks.filter { !$0.isGood && $0.isRequired }.map(\.text) }

    /// The body of the answer. Whether recovery has ended makes no difference: what is in the cache is found meanwhile.
    func text(verbose: Bool) -> String {
        var lines = verbose ? checks.map { $0.isGood ? "[+] \($0.text)" : "[-] \($0.text)" } : failures
        if verbose || (isReady && !isRecovered) { lines.append("recovery: \(isRecovered ? "done" : "running")") }
        if isReady { lines.insert("ok", at: 0) }
        return lines.joined(separator: "\n") + "\n"
    }

    private var checks: [Check] {
        var checks = [Check(isGood: !isStopping, text: isStopping ? "stopping" : "running")]
        switch reading {
        case nil: break
        case .late: checks.append(Check(isGood: false, text: "pool: \(lateText)"))
        case .answered(let error, let milliseconds):
            checks.append(Check(isGood: true, text: "pool: answered in \(milliseconds) ms"))
            checks.append(Check(isGood: error == nil, text: "store: \(error.map { "\($0)" } ?? "readable")"))
        }
        if let pulling {
            checks.append(
                Check(isGood: pulling.isReady, isRequired: asksForPulls, text: "pull: \(pullText(pulling))"))
        }
        return checks
    }

    private var lateText: String { "no answer within \(deadlineMilliseconds) ms" }

    private func pullText(_ pulling: ReadinessProbes.Pulling) -> String {
        switch pulling {
        case .never: "air-gapped, nothing is pulled"
        case .asked(.late): lateText
        case .asked(.answered(.success(let disk), _)):
            if disk.isFull {
                "no room: \(disk.freeBytes) bytes free, \(disk.wantedBytes) wanted"
            } else if disk.lacksInodes, let count = disk.freeInodes {
                "no room: \(count) inodes free, \(Store.leastInodes) wanted"
            } else {
                "\(disk.freeBytes) bytes free"
            }
        case .asked(.answered(.failure(let error), _)): error.isNoSpace ? "no room: \(error)" : "\(error)"
        }
    }
}
