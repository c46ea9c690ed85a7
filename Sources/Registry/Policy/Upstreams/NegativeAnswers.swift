// 404s and 403s of upstreams, remembered for a short time. A client that repeats a request, such as the node of a pod
// that cannot start, gets the same error without another upstream request.

package import Configuration
internal import DequeModule
package import OCI

/// Remembered 404s and 403s of upstreams. A pure value; times are the loop's milliseconds.
///
/// A success ends what is remembered about its content. A request that began before a success, or before `clear`, may
/// have its answer from before, so a failure of it is not remembered.
package struct NegativeAnswers: Sendable {
    /// Answers remembered, the oldest of which is dropped: clients can name any number of images. Each takes less than
    /// a kilobyte: its path is at most 400 bytes long.
    package static let maximumEntries = 10_000

    /// Content of an upstream.
    package struct Key: Hashable, Sendable {
        package let host: RegistryHost
        /// The path that it is requested with, which has the repository and the tag or digest.
        package let path: String

        package init(host: RegistryHost, path: String) {
            self.host = host
            self.path = path
        }
    }

    /// How the upstream was asked. A registry may refuse a HEAD and answer the GET of the same content.
    package enum Question: Hashable, Sendable {
        /// By GET: the answer holds for a HEAD too.
        case content
        /// By a HEAD that a client is answered with.
        case head
        /// By a HEAD whether a repository has content that is in the cache.
        case proof
    }

    /// A request in progress.
    package struct Ticket: Sendable {
        fileprivate let key: Key
        fileprivate let number: UInt64
        fileprivate let remembersFailure: Bool
    }

    private struct Place: Hashable {
        let key: Key
        let question: Question
    }

    private struct Entry {
        let error: RegistryError
        let endMilliseconds: UInt64
        let number: UInt64
    }

    /// The requests in progress for one key. As many as the limits of requests and pulls allow.
    private struct Asking {
        var count = 0
        /// The number of the last success; 0: none since the first of these requests began.
        var succeeded: UInt64 = 0
    }

    private var settings: NegativeCacheSettings
    private var entries: [Place: Entry] = [:]
    /// From the oldest. Places of removed entries stay until they are the oldest.
    private var order: Deque<(place: Place, number: UInt64)> = []
    private var asking: [Key: Asking] = [:]
    /// Orders beginnings, successes and clearings.
    private var lastNumber: UInt64 = 0
    private var cleared: UInt64 = 0

    package init(_ settings: NegativeCacheSettings) { self.settings = settings }

    package var count: Int { entries.count }
    /// Keys with requests in progress.
    var askingCount: Int { asking.count }

    /// The error that a request gets without being sent; nil when it has to be sent.
    ///
    /// `upstreamStatus` is removed, so that no caller retries by another method.
    package func error(_ key: Key, _ question: Question, now: UInt64) -> RegistryError? {
        guard !entries.isEmpty else { return nil }
        let entry = live(key, .content, now) ?? (question == .content ? nil : live(key, question, now))
        guard var error = entry?.error else { return nil }
        error.upstreamStatus = nil
        return error
    }

    private func live(_ key: Key, _ question: Question, _ now: UInt64) -> Entry? {
        entries[Place(key: key, question: question)].flatMap { now < $0.endMilliseconds ? $0 : nil }
    }

    // MARK: Requests

    /// Records that a request is about to be sent; `end` must follow.
    /// - Parameter remembersFailure: false for a request with values of one client, whose failure is not the others'.
    package mutating func begin(_ key: Key, remembersFailure: Bool = true) -> Ticket {
        asking[key, default: Asking()].count += 1
        return Ticket(key: key, number: next(), remembersFailure: remembersFailure)
    }

    /// Records the end of a request.
    /// - Parameter error: nil after a success.
    package mutating func end(_ ticket: Ticket, _ question: Question, _ error: RegistryError?, now: UInt64) {
        guard let asked = asking[ticket.key] else { return }
        if asked.count > 1 { asking[ticket.key]?.count -= 1 } else { asking[ticket.key] = nil }
        guard let error else { return succeeded(ticket.key) }
        guard ticket.remembersFailure, ticket.number > max(asked.succeeded, cleared),
            NegativeAnswers.isFinal(error, question),
            let milliseconds = milliseconds(for: error)
        else { return }
        insert(
            Entry(error: error, endMilliseconds: now.addingSaturated(milliseconds), number: next()),
            at: Place(key: ticket.key, question: question), now: now)
    }

    /// Records that the content exists: an upstream or the operator has given it, or an upstream has said so.
    package mutating func succeeded(_ key: Key) {
        guard !entries.isEmpty || !asking.isEmpty else { return }
        let number = next()
        asking[key]?.succeeded = number
        for question in [Question.content, .head, .proof] { entries[Place(key: key, question: question)] = nil }
    }

    /// Forgets everything: what upstreams are, or the credentials for them, has changed.
    package mutating func clear(_ settings: NegativeCacheSettings) {
        self.settings = settings
        clear()
    }

    package mutating func clear() {
        cleared = next()
        entries = [:]
        order = []
    }

    private mutating func next() -> UInt64 {
        lastNumber &+= 1
        return lastNumber
    }

    /// Whether an error ends the client's request: after some answers to a HEAD, the content is asked for by GET.
    private static func isFinal(_ error: RegistryError, _ question: Question) -> Bool {
        switch question {
        case .content: true
        case .head: !error.mayConcernHeadOnly
        case .proof: !error.mayConcernHeadOnly || error.upstreamStatus == 404
        }
    }

    /// How long an error is remembered; nil for one that is not. Only an upstream's own answer counts: this server's
    /// rules and limits, and an upstream's troubles, may change at any moment.
    private func milliseconds(for error: RegistryError) -> UInt64? {
        let time: Int
        switch (error.status, error.upstreamStatus) {
        case (404, 404), (404, 410): time = settings.notFoundMilliseconds
        case (403, 401), (403, 403), (403, 451): time = settings.deniedMilliseconds
        default: return nil
        }
        return time > 0 ? UInt64(clamping: time) : nil
    }

    private mutating func insert(_ entry: Entry, at place: Place, now: UInt64) {
        while let oldest = order.first {
            let known = entries[oldest.place]
            let isCurrent = known?.number == oldest.number
            let isOver = known.map { now >= $0.endMilliseconds } ?? true
            guard !isCurrent || isOver || order.count >= NegativeAnswers.maximumEntries else { break }
            order.removeFirst()
            if isCurrent { entries[oldest.place] = nil }
        }
        entries[place] = entry
        order.append((place, entry.number))
    }
}
