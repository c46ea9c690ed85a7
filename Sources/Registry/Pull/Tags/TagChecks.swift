// Asks upstreams whether cached tags still mean what they meant: each tag at most once at a time, for all who wait.
// TagFreshness decides when to ask, and what is served without an answer.

package import Configuration
internal import Logging
package import OCI

/// The revalidations of one process, and the policies that they follow.
package final class TagChecks {
    /// The longest pause after a failed revalidation: an upstream that is well again is asked soon.
    static let maximumPauseMilliseconds: Int64 = 30_000
    /// The longest pause after a 404, which costs a HEAD and a GET: as for other tags, but not without a limit.
    static let maximumDeletedPauseMilliseconds: Int64 = 300_000
    /// Time between two revalidations of a tag that clients ask for.
    static let forcedPauseMilliseconds: Int64 = 1000
    /// Tags whose last revalidation failed: those beyond are asked without a pause.
    static let maximumFailures = 16_384

    /// The result of a revalidation.
    package enum Outcome {
        case unchanged
        /// `isPulled` is false if the manifest was in the cache already.
        case moved(CachedManifest, isPulled: Bool)
        case failed(TagCheckFailure, RegistryError)
    }

    private struct Running {
        let startMilliseconds: UInt64
        var waiting: [(Outcome) -> Void]
    }

    /// The last revalidation of a tag, which failed. Times are those of the store's `tagClock`.
    private struct Failure {
        let failure: TagCheckFailure
        let error: RegistryError
        let pause: DoublingPause
        let pauseEnd: Int64
        let askedMilliseconds: Int64
        var loggedMilliseconds: Int64?
    }

    private let puller: Puller
    private let context: PullContext
    /// Whether no upstream may be asked.
    var airGapped: Bool
    private let decisions: Decisions<TagPolicies>
    private var running: [TagName: Running] = [:]
    private var failures: [TagName: Failure] = [:]
    private var logLines = LogLineBudget()
    private var roomMadeMilliseconds: Int64 = 0

    package init(_ policies: TagPolicies, puller: Puller, airGapped: Bool) {
        self.puller = puller
        self.airGapped = airGapped
        context = puller.context
        decisions = Decisions(policies, usual: .standard, loop: context.loop, offload: context.offload)
    }

    // MARK: Policies

    package var policies: TagPolicies { decisions.rules }

    package func replacePolicies(_ policies: TagPolicies) { decisions.replace(with: policies) }

    /// The policy of a tag; nil when it is not decided yet. Allocates nothing.
    func policy(of name: TagBytes, isLatest: Bool) -> TagPolicy? {
        if let fixed = decisions.rules.fixed(isLatest: isLatest) { return fixed }
        switch name.withText({ decisions.table.find($0) }) {
        case .usual: return .standard
        case .other(let position): return decisions.table.decision(at: position)
        case .undecided: return nil
        }
    }

    /// Calls `then` later with the policy of a tag. When too many requests wait for decisions, it is the strict one.
    func whenPolicyKnown(_ name: TagName, then: @escaping (TagPolicy) -> Void) {
        if let known = name.withBytes({ policy(of: $0, isLatest: name.tag == "latest") }) {
            return context.loop.deferred.complete(then, known)
        }
        guard decisions.decide(name, for: DecisionRequest(bytes: TagChecks.waiterBytes), then: then) else {
            return context.loop.deferred.complete(then, .strict)
        }
    }

    /// The approximate memory of a request that waits for a policy.
    private static let waiterBytes = 2048

    // MARK: Decisions

    /// Decides about a request for a cached tag.
    /// - Parameters:
    ///   - checked: when the tag was last confirmed (`TagRecord.checkedMilliseconds`).
    ///   - isForced: whether the client asks for a revalidation.
    func decide(
        _ name: TagName, checked: Int64, _ policy: TagPolicy, isForced: Bool, from source: PullSource
    ) -> TagFreshness {
        let now = context.store.tagClock
        var tag = TagSituation(policy: policy, ageMilliseconds: age(checked))
        tag.airGapped = airGapped
        let failure = failures[name]
        if let failure, now < failure.pauseEnd { tag.pausedAfter = failure.failure }
        if isForced {
            let last = max(checked, failure?.askedMilliseconds ?? checked)
            tag.isForced =
                now.subtractingSaturated(last) >= TagChecks.forcedPauseMilliseconds
                && !context.client.rateLimits.isPaused(source.limited)
        }
        return TagFreshness.decide(tag)
    }

    /// Time since a check.
    func age(_ checked: Int64) -> Int64 { max(0, context.store.tagClock.subtractingSaturated(checked)) }

    /// The error of a tag's last revalidation; nil if it did not fail.
    func lastError(_ name: TagName) -> RegistryError? { failures[name]?.error }

    /// When the tag's running revalidation began, on the loop's clock; nil when none runs.
    func runningSince(_ name: TagName) -> UInt64? { running[name]?.startMilliseconds }

    // MARK: Revalidations

    /// Asks the upstream whether a tag still has a digest, or joins the revalidation that is doing so. A tag that has
    /// moved is pulled and set.
    /// - Parameters:
    ///   - cached: the digest in the cache.
    ///   - waitsForPause: false to fail at once while the repository is paused after a 429.
    ///   - then: called later, when the tag is set.
    func check(
        _ name: TagName, cached: Digest, _ policy: TagPolicy, from source: PullSource, waitsForPause: Bool = false,
        then: @escaping (Outcome) -> Void
    ) {
        guard running[name] == nil else {
            running[name]?.waiting.append(then)
            return
        }
        running[name] = Running(startMilliseconds: context.loop.nowMilliseconds, waiting: [then])
        let asked = context.store.tagClock
        let finish: (Outcome) -> Void = { [self] in ended(name, cached, policy, asked, $0) }
        var head = UpstreamRequest.manifest(.head, .tag(name.tag), source)
        head.waitsForPause = waitsForPause
        puller.head(head, from: source) { [self] result in
            switch result {
            case .failure(let error) where error.mayConcernHeadOnly: pull(name, cached, source, finish)
            case .failure(let error): finish(.failed(TagCheckFailure(error), error))
            case .success(let entity) where entity.digest == cached: finish(.unchanged)
            case .success(let entity): adopt(entity.digest, name, cached, source, finish)
            }
        }
    }

    /// Sets the tag to a manifest that is in the cache, and otherwise pulls it.
    private func adopt(
        _ digest: Digest?, _ name: TagName, _ cached: Digest, _ source: PullSource,
        _ finish: @escaping (Outcome) -> Void
    ) {
        guard let digest else { return pull(name, cached, source, finish) }
        context.store.findManifest(digest) { [self] found in
            guard let found else { return pull(name, cached, source, finish) }
            // A tag must not point to content of other repositories before its own has shown that it has it.
            context.store.whenServable(digest, host: name.host, repository: name.repository) { [self] isServable in
                guard isServable else { return pull(name, cached, source, finish) }
                context.store.setTag(host: name.host, repository: name.repository, tag: name.tag, digest: digest)
                finish(.moved(found, isPulled: false))
            }
        }
    }

    private func pull(
        _ name: TagName, _ cached: Digest, _ source: PullSource, _ finish: @escaping (Outcome) -> Void
    ) {
        if !source.isExplicit, puller.mustSaveQuota(source.host) {
            puller.countSaved(.manifest, of: source.host)
            let error = RegistryError.unavailable("the reserve of pulls at \(source.host) is kept")
            return context.loop.deferred.enqueue { finish(.failed(.quota, error)) }
        }
        puller.manifest(.tag(name.tag), from: source) { result, _ in
            switch result {
            case .success(let manifest) where manifest.digest == cached: finish(.unchanged)
            case .success(let manifest): finish(.moved(manifest, isPulled: true))
            case .failure(let error): finish(.failed(TagCheckFailure(error), error))
            }
        }
    }

    private func ended(
        _ name: TagName, _ cached: Digest, _ policy: TagPolicy, _ asked: Int64, _ outcome: Outcome
    ) {
        let waiting = running.removeValue(forKey: name)?.waiting ?? []
        context.metrics.tags.checked(outcome.result)
        switch outcome {
        case .unchanged:
            failures[name] = nil
            context.store.confirmTag(host: name.host, repository: name.repository, tag: name.tag, digest: cached)
        case .moved(let manifest, _):
            failures[name] = nil
            context.logger.info(
                "tag moved", metadata: name.metadata(["from": "\(cached)", "to": "\(manifest.digest)"]))
        case .failed(.deleted, _) where policy.removesDeleted:
            failures[name] = nil
            context.store.removeTag(host: name.host, repository: name.repository, tag: name.tag, digest: cached)
            context.logger.warning(
                "tag removed, since its upstream does not have it any more",
                metadata: name.metadata(["digest": "\(cached)"]))
        case .failed(let failure, let error): note(failure, error, of: name, policy, asked)
        }
        context.loop.deferred.forEach(waiting) { $0(outcome) }
    }

    /// Begins the pause after a failure, and logs it.
    private func note(
        _ failure: TagCheckFailure, _ error: RegistryError, of name: TagName, _ policy: TagPolicy, _ asked: Int64
    ) {
        guard !puller.isClosed else { return }
        let now = context.store.tagClock
        let clock = UInt64(clamping: now)
        let former = failures[name]
        if former == nil, failures.count >= TagChecks.maximumFailures { makeRoom(now) }
        let previous = former.flatMap { $0.pause.isForgotten(now: clock) ? nil : $0.pause }
        let pause = DoublingPause(after: previous, now: clock)
        var length = min(Int64(clamping: pause.endMilliseconds &- clock), TagChecks.maximumPauseMilliseconds)
        if failure == .deleted {
            length = max(length, min(policy.ttl.milliseconds, TagChecks.maximumDeletedPauseMilliseconds))
        }
        var entry = Failure(
            failure: failure, error: error, pause: pause, pauseEnd: now + length, askedMilliseconds: asked,
            loggedMilliseconds: former?.loggedMilliseconds)
        let isRecent = entry.loggedMilliseconds.map { now - $0 < Int64(LogLineBudget.pauseMilliseconds) } ?? false
        if !isRecent, logLines.hasRoom(now: clock) {
            logLines.take()
            entry.loggedMilliseconds = now
            context.logger.warning(
                "a cached tag was not confirmed by its upstream",
                metadata: name.metadata(["result": "\(failure.label)", "reason": "\(error.reason)"]))
        }
        if former != nil || failures.count < TagChecks.maximumFailures { failures[name] = entry }
    }

    /// Forgets the failures whose pause is over. At most once a second, since it looks at all of them.
    private func makeRoom(_ now: Int64) {
        guard now - roomMadeMilliseconds >= 1000 else { return }
        roomMadeMilliseconds = now
        failures = failures.filter { now < $0.value.pauseEnd }
    }
}

extension TagChecks.Outcome {
    fileprivate var result: TagCheckResult {
        switch self {
        case .unchanged: .unchanged
        case .moved: .moved
        case .failed(let failure, _): .failed(failure)
        }
    }
}

extension TagName {
    fileprivate func metadata(_ further: Logger.Metadata) -> Logger.Metadata {
        further.merging(["host": "\(host)", "repository": "\(repository)", "tag": "\(tag)"]) { mine, _ in mine }
    }
}

extension TagPolicies: NameRules {
    func decide(_ name: TagName) -> TagPolicy {
        decide(host: name.host, repository: name.repository, tag: name.tag)
    }
}

extension TagName: DecidableName {
    func withText<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R { withBytes { $0.withText(body) } }
}
