// Revalidates the cached tags whose names match a pattern, for an operator who does not want to wait for their ttl.

internal import Configuration
internal import OCI

/// A tag that has been revalidated.
package struct RefreshedTag: Sendable, Equatable, Codable {
    package enum Result: String, Sendable, Codable {
        case unchanged, moved
        /// It has moved to an image that is held back (`cooldown`).
        case held
        /// The upstream does not have it any more.
        case deleted
        /// The upstream did not confirm it, or it may not be pulled.
        case failed
    }

    /// `host/repository:tag`.
    package let name: String
    package let result: Result
    /// The digest before.
    package let digest: String
    /// The digest that it moved to, also when that is held back.
    package var movedTo: String?
    /// Why it was not confirmed.
    package var reason: String?
}

/// The events of a refresh, in order; `ended` is the last. As JSON each is the object of its value.
package enum RefreshEvent: Sendable, Equatable, Codable {
    case tag(RefreshedTag)
    case ended(RefreshReport)

    package init(from decoder: any Decoder) throws {
        if let report = try? RefreshReport(from: decoder) {
            self = .ended(report)
        } else {
            self = .tag(try RefreshedTag(from: decoder))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        switch self {
        case .tag(let tag): try tag.encode(to: encoder)
        case .ended(let report): try report.encode(to: encoder)
        }
    }
}

/// The final result of a refresh.
package struct RefreshReport: Sendable, Equatable, Codable {
    package var unchanged = 0
    package var moved = 0
    package var deleted = 0
    package var failed = 0
    package var held = 0
    /// Why the cache's tags could not be listed.
    package var problem: String?
    /// Whether it was stopped before its end.
    package var isStopped = false

    mutating func count(_ result: RefreshedTag.Result) {
        switch result {
        case .unchanged: unchanged += 1
        case .moved: moved += 1
        case .held: held += 1
        case .deleted: deleted += 1
        case .failed: failed += 1
        }
    }
}

/// One refresh. It keeps itself alive until it has ended.
final class TagRefresh {
    /// Tags that are checked at once: few, so that clients' requests are not held back.
    static let maximumAtOnce = 8

    private let context: LoadContext
    private let emit: (RefreshEvent) -> Void
    private let gate = Gate(limit: TagRefresh.maximumAtOnce)
    private var report = RefreshReport()
    /// Tags that have not been checked.
    private var pending = 0
    private var hasEnded = false

    /// - Parameter emit: called with every event, `ended` last.
    init(_ context: LoadContext, emit: @escaping (RefreshEvent) -> Void) {
        self.context = context
        self.emit = emit
    }

    /// - Parameter selecting: runs off the loop.
    func start(selecting: @escaping @Sendable (CachedImage) throws -> Bool) {
        context.store.images { images in
            try images.compactMap { image -> TagName? in
                guard case .tag(let tag) = image.reference, try selecting(image) else { return nil }
                return TagName(host: image.host, repository: image.repository, tag: tag)
            }
        } then: { [self] (result: Result<[TagName], any Error>) in
            switch result {
            case .failure(let error):
                report.problem = "\(error)"
                end()
            case .success(let names):
                pending = names.count
                guard !names.isEmpty else { return end() }
                for name in names { gate.enter { self.check(name) } }
            }
        }
    }

    /// Ends soon; requests that are under way are not waited for.
    func stop() {
        guard !hasEnded else { return }
        report.isStopped = true
        context.loop.deferred.enqueue { [self] in end() }
    }

    private func check(_ name: TagName) {
        guard !hasEnded else { return gate.leave() }
        let isWaiting = context.names.decide(name.host, name.repository) { [self] decision in
            switch decision {
            case .allowed: find(name)
            case .denied(_, let rule): ended(name, nil, .failed, reason: "may not be pulled here: \(rule)")
            }
        }
        if !isWaiting { ended(name, nil, .failed, reason: "too many requests wait for a decision on their names") }
    }

    private func find(_ name: TagName) {
        context.store.findTag(host: name.host, repository: name.repository, tag: name.tag) { [self] record in
            guard let record else { return ended(name, nil, .failed, reason: "has left the cache") }
            context.tags.whenPolicyKnown(name) { [self] policy in
                let image = ImageName(host: name.host, repository: name.repository, tag: name.tag)
                context.tags.check(
                    name, cached: record.digest, policy, from: context.source(of: image), waitsForPause: true
                ) { [self] outcome in
                    switch outcome {
                    case .unchanged: ended(name, record.digest, .unchanged)
                    case .held(let hold):
                        ended(name, record.digest, .held, movedTo: hold.digest, reason: hold.reason)
                    case .moved(let manifest, _): ended(name, record.digest, .moved, movedTo: manifest.digest)
                    case .failed(.deleted, let error): ended(name, record.digest, .deleted, reason: error.reason)
                    case .failed(_, let error): ended(name, record.digest, .failed, reason: error.reason)
                    }
                }
            }
        }
    }

    private func ended(
        _ name: TagName, _ digest: Digest?, _ result: RefreshedTag.Result, movedTo: Digest? = nil,
        reason: String? = nil
    ) {
        gate.leave()
        guard !hasEnded else { return }
        report.count(result)
        emit(
            .tag(
                RefreshedTag(
                    name: "\(name)", result: result, digest: digest.map { "\($0)" } ?? "",
                    movedTo: movedTo.map { "\($0)" }, reason: reason)))
        pending -= 1
        if pending == 0 { end() }
    }

    private func end() {
        guard !hasEnded else { return }
        hasEnded = true
        emit(.ended(report))
    }
}
