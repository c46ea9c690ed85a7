// The readiness checks of the disk, run in the thread pool. A server is ready while it can serve cached content: a
// fleet with full disks still serves, and a balancer must not remove it. Whether new content could be stored is a
// separate check, for `/readyz?pull` and for the metrics.

/// The checks of the disk. The pool has one job per check at a time for any number of clients, so that requests do not
/// add work to a pool that hangs.
package final class ReadinessProbes {
    /// The server is not ready when the pool has not answered for this long: no client waits longer for a file.
    static let deadlineMilliseconds: UInt64 = 2_000

    /// The result of the check whether new content could be stored.
    enum Pulling {
        /// The server never pulls, so it needs no space.
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
    /// Checks that cached content can be read; a nil result means it can.
    let reading: PoolProbe<StoreError?>
    /// Checks that new content could be stored.
    private let storing: PoolProbe<Result<DiskReport, StoreError>>
    /// False for an air-gapped server, which never stores new content for a client.
    package var pulls: Bool

    package convenience init(on loop: EventLoop, store: Store, pulls: Bool) {
        self.init(on: loop, store: store, pulls: pulls, deadlineMilliseconds: ReadinessProbes.deadlineMilliseconds)
    }

    init(on loop: EventLoop, store: Store, pulls: Bool, deadlineMilliseconds: UInt64) {
        self.loop = loop
        self.deadlineMilliseconds = deadlineMilliseconds
        reading = PoolProbe(on: loop, deadlineMilliseconds: deadlineMilliseconds) { store.checkReading(then: $0) }
        storing = PoolProbe(on: loop, deadlineMilliseconds: deadlineMilliseconds) { store.lookAtDisk(then: $0) }
        self.pulls = pulls
    }

    /// Checks that cached content can be read.
    /// - Parameter then: gets the reasons why it cannot; none when it can.
    package func askReading(then: @escaping ([String]) -> Void) {
        reading.ask { [deadlineMilliseconds] outcome in
            then(Readiness(reading: outcome, deadlineMilliseconds: deadlineMilliseconds).failures)
        }
    }

    /// Checks whether new content could be stored.
    func askPulling(then: @escaping (Pulling) -> Void) {
        guard pulls else { return loop.deferred.complete(then, .never) }
        storing.ask { then(.asked($0)) }
    }
}

/// The known state at the time of a readiness request.
struct Readiness {
    var isStopping = false
    var isRecovered = true
    /// Whether being able to store new content is part of being ready.
    var asksForPulls = false
    /// Nil: not checked.
    var reading: PoolProbe<StoreError?>.Outcome?
    /// Nil: not checked.
    var pulling: ReadinessProbes.Pulling?
    var deadlineMilliseconds = ReadinessProbes.deadlineMilliseconds

    private struct Check {
        let isGood: Bool
        var isRequired = true
        let text: String
    }

    var isReady: Bool { failures.isEmpty }

    /// One line for each required check that fails.
    var failures: [String] { checks.filter { !$0.isGood && $0.isRequired }.map(\.text) }

    /// The body of the response. Recovery does not affect readiness: cached content is found while it runs.
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
                "no room: \(max(0, disk.freeBytes)) bytes free, \(disk.wantedBytes) wanted"
            } else if disk.lacksInodes, let count = disk.freeInodes {
                "no room: \(count) inodes free, \(Store.leastInodes) wanted"
            } else {
                "\(max(0, disk.freeBytes)) bytes free"
            }
        case .asked(.answered(.failure(let error), _)): error.isNoSpace ? "no room: \(error)" : "\(error)"
        }
    }
}
