// Counts and processor time of a span, and the values derived from them. Pure.

/// Why a pull was not correct.
enum Fault: String, CaseIterable {
    /// The status is not 200.
    case status
    /// The stated length is not the content's length.
    case length
    /// The bytes do not hash to their digest.
    case hash
    /// No complete response: refused, reset, ended early, unreadable.
    case broken
    /// No response in time.
    case timeout
}

struct Tally {
    private(set) var images = 0
    private(set) var requests = 0
    private(set) var bytes = 0
    private(set) var hashed = 0
    private(set) var faults: [Fault: Int] = [:]
    private var microseconds: [UInt32] = []
    private var isSorted = true

    mutating func add(pull: UInt64, isHashed: Bool) {
        images += 1
        if isHashed { hashed += 1 }
        microseconds.append(UInt32(clamping: pull / 1000))
        isSorted = false
    }

    mutating func add(answerBytes: Int) {
        requests += 1
        bytes += answerBytes
    }

    mutating func add(_ fault: Fault) { faults[fault, default: 0] += 1 }

    mutating func add(_ other: Tally) {
        images += other.images
        requests += other.requests
        bytes += other.bytes
        hashed += other.hashed
        addFaults(of: other)
        microseconds += other.microseconds
        isSorted = false
    }

    mutating func addFaults(of other: Tally) { faults.merge(other.faults, uniquingKeysWith: +) }

    var faultCount: Int { faults.values.reduce(0, +) }

    /// Milliseconds within which `perMille` of a thousand images were pulled; nil without an image.
    mutating func milliseconds(perMille: Int) -> Double? {
        if !isSorted {
            microseconds.sort()
            isSorted = true
        }
        guard !microseconds.isEmpty else { return nil }
        return Double(microseconds[min(microseconds.count - 1, microseconds.count * perMille / 1000)]) / 1000
    }
}

/// Processor time used so far, in seconds; nil where it is unknown.
struct Usage {
    var seconds: Double
    var driver: Double
    var server: Double?
    var upstream: Double?
    /// Time that the hypervisor gave to other machines, over all processors.
    var stolen: Double?
}

/// A span of the run: the pulls, the number of pullers, and the processor time.
struct Span {
    let step: Int
    let pullers: Int
    var tally: Tally
    let begin: Usage
    let end: Usage

    var seconds: Double { end.seconds - begin.seconds }
    var imagesPerSecond: Double { Double(tally.images) / seconds }

    /// Percent of one processor.
    func percent(_ part: KeyPath<Usage, Double?>) -> Double? {
        guard let last = end[keyPath: part], let first = begin[keyPath: part] else { return nil }
        return 100 * (last - first) / seconds
    }

    var driverPercent: Double { 100 * (end.driver - begin.driver) / seconds }

    /// Microseconds of the server's processor time per image.
    var serverMicrosecondsPerImage: Double? {
        guard tally.images > 0 else { return nil }
        return percent(\.server).map { $0 / 100 * seconds * 1e6 / Double(tally.images) }
    }
}
