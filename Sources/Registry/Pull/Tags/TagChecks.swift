// Revalidates cached tags: one running request for each tag, shared by all requests for it. TagFreshness decides when
// to ask, and what is served without an answer.

package import Configuration
internal import Logging
package import OCI

/// The revalidations of one process, and the policies that they follow.
package final class TagChecks {
    /// The longest pause after a failed revalidation: an upstream that has recovered is asked soon.
    static let maximumPauseMilliseconds: Int64 = 30_000
    /// The longest pause after a 404, which costs a HEAD and a GET: as for other tags, but not without a limit.
    static let maximumDeletedPauseMilliseconds: Int64 = 300_000
    /// Time between two revalidations of a tag that clients ask for.
    static let forcedPauseMilliseconds: Int64 = 1000
    /// Most tags whose failure is remembered; further ones get no pause.
    static let maximumFailures = 16_384

    /// The result of a revalidation.
    package enum Outcome {
        case unchanged
        /// `isPulled` is false if the manifest was in the cache already.
        case moved(CachedManifest, isPulled: Bool)
        /// What the tag means is held back (`cooldown`), and there is nothing newer to serve than what is cached.
        case held(CooldownHold)
        case failed(TagCheckFailure, RegistryError)
    }

    /// One revalidation.
    struct Check {
        let name: TagName
        /// The digest in the cache; nil for a tag that is not there.
        let cached: Digest?
        let policy: TagPolicy
        let source: PullSource
        /// When it began, on the store's `tagClock`: its answer must not replace a newer one.
        let asked: Int64
        let isNeeded: Bool
        let finish: (Outcome) -> Void
    }

    private final class Running {
        let startMilliseconds: UInt64
        var waiting: [(Outcome) -> Void] = []

        init(startMilliseconds: UInt64) { self.startMilliseconds = startMilliseconds }
    }

    /// The last revalidation of a tag, which failed. Times are those of the store's `tagClock`.
    struct Failure {
        let failure: TagCheckFailure
        let error: RegistryError
        let pause: DoublingPause
        let pauseEnd: Int64
        let askedMilliseconds: Int64
        var loggedMilliseconds: Int64?
    }

    let puller: Puller
    let context: PullContext
    /// What is held back.
    package private(set) lazy var cooldown = Cooldown(tags: self, puller: puller)
    /// Whether no upstream may be asked.
    var airGapped: Bool
    private let decisions: Decisions<TagPolicies>
    private var running: [TagName: Running] = [:]
    private(set) var failures: [TagName: Failure] = [:]
    private var logLines = LogLineBudget()
    private var roomMadeMilliseconds: Int64 = 0

    package init(_ policies: TagPolicies, puller: Puller, airGapped: Bool) {
        self.puller = puller
        self.airGapped = airGapped
        context = puller.context
        decisions = Decisions(policies, usual: .standard, loop: context.loop, offload: context.offload)
        cooldown.policiesChanged()
    }

    // MARK: Policies

    package var policies: TagPolicies { decisions.rules }

    package func replacePolicies(_ policies: TagPolicies) {
        decisions.replace(with: policies)
        // What runs ends under its policy, and requests from now on do not join it.
        running = [:]
        cooldown.policiesChanged()
    }

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
            return context.loop.deferred.complete(then, policies.strict)
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
    ///   - cached: the digest in the cache; nil for a tag that is not there, which only a policy with a cooldown asks
    ///     about so.
    ///   - waitsForPause: false to fail at once while the repository is paused after a 429.
    ///   - isNeeded: whether the cached manifest may not be served without an answer, so that no quota is saved.
    ///   - then: called later, when the tag is set.
    func check(
        _ name: TagName, cached: Digest?, _ policy: TagPolicy, from source: PullSource, waitsForPause: Bool = false,
        isNeeded: Bool = false, then: @escaping (Outcome) -> Void
    ) {
        guard !airGapped else {
            let error = RegistryError.unavailable("no upstream may be asked (airGapped)")
            return context.loop.deferred.complete(then, .failed(.unreachable, error))
        }
        guard running[name] == nil else {
            running[name]?.waiting.append(then)
            return
        }
        let run = Running(startMilliseconds: context.loop.nowMilliseconds)
        run.waiting.append(then)
        running[name] = run
        let asked = context.store.tagClock
        let finish: (Outcome) -> Void = { [self] in ended(name, run, cached, policy, asked, $0) }
        // One check is for all clients, so it has no values of the one that causes it but the way that it came.
        var source = source
        source.extraAccept = []
        source.ignoresRememberedErrors = true
        source.setsTag = policy.cooldown == .zero
        let check = Check(
            name: name, cached: cached, policy: policy, source: source, asked: asked, isNeeded: isNeeded,
            finish: finish)
        var head = UpstreamRequest.manifest(.head, .tag(name.tag), source)
        head.waitsForPause = waitsForPause
        puller.head(head, from: source) { [self] result in
            switch result {
            case .failure(let error) where error.mayConcernHeadOnly: pull(check)
            case .failure(let error): fail(error, check)
            case .success(let entity) where policy.cooldown != .zero: applyCooldown(entity.digest, check)
            case .success(let entity) where entity.digest == cached: finish(.unchanged)
            case .success(let entity): adopt(entity.digest, check)
            }
        }
    }

    /// Sets the tag to a manifest that is in the cache, and otherwise pulls it.
    private func adopt(_ digest: Digest?, _ check: Check) {
        guard let digest else { return pull(check) }
        let name = check.name
        context.store.findManifest(digest) { [self] found in
            guard let found else { return pull(check) }
            // A HEAD proves nothing: a registry could claim another repository's digest for its tag.
            context.store.whenServable(digest, host: name.host, repository: name.repository) { [self] isServable in
                guard isServable else { return pull(check) }
                context.store.setTag(
                    host: name.host, repository: name.repository, tag: name.tag, digest: digest, checked: check.asked)
                check.finish(.moved(found, isPulled: false))
            }
        }
    }

    /// Ends a check instead of a pull, if the reserve of the upstream's quota is kept.
    func savesQuota(_ check: Check) -> Bool {
        let source = check.source
        guard !source.isExplicit, !check.isNeeded, puller.mustSaveQuota(source.host) else { return false }
        puller.countSaved(.manifest, of: source.host)
        let error = RegistryError.unavailable("\(source.host) has fewer pulls left than quota.reserve")
        context.loop.deferred.enqueue { check.finish(.failed(.quota, error)) }
        return true
    }

    func pull(_ check: Check) {
        guard !savesQuota(check) else { return }
        puller.manifest(.tag(check.name.tag), from: check.source) { [self] result, _ in
            switch result {
            case .success(let manifest) where check.policy.cooldown != .zero: applyCooldown(manifest.digest, check)
            case .success(let manifest) where manifest.digest == check.cached: check.finish(.unchanged)
            case .success(let manifest): check.finish(.moved(manifest, isPulled: true))
            case .failure(let error): fail(error, check)
            }
        }
    }

    /// Forgets the failures: what they were about has been configured anew.
    func forgetFailures() { failures = [:] }

    private func ended(
        _ name: TagName, _ run: Running, _ cached: Digest?, _ policy: TagPolicy, _ asked: Int64, _ outcome: Outcome
    ) {
        if running[name] === run { running[name] = nil }
        let waiting = run.waiting
        defer { context.loop.deferred.forEach(waiting) { $0(outcome) } }
        if case .held(let hold) = outcome { cooldown.tagHeld(name, hold, asked: asked) }
        // A failure to get a tag that is not cached is the client's answer, and nothing to be remembered here.
        guard let cached else { return }
        context.metrics.tags.checked(outcome.result)
        switch outcome {
        case .unchanged, .held:
            failures[name] = nil
            context.store.confirmTag(
                host: name.host, repository: name.repository, tag: name.tag, digest: cached, checked: asked)
        case .moved(let manifest, _):
            failures[name] = nil
            context.logger.info(
                "tag moved", metadata: name.metadata(["from": "\(cached)", "to": "\(manifest.digest)"]))
        case .failed(.deleted, _) where policy.removesDeleted:
            failures[name] = nil
            context.store.removeTag(
                host: name.host, repository: name.repository, tag: name.tag, digest: cached, checked: asked)
            context.logger.warning(
                "tag removed, since its upstream does not have it any more",
                metadata: name.metadata(["digest": "\(cached)"]))
        case .failed(let failure, let error): note(failure, error, of: name, policy, asked)
        }
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
