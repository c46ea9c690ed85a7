// What a tag's policy makes of its age and of its upstream's answer.

import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct TagFreshnessTests {
    private static func policy(
        ttl: Int64, whileRevalidate: Int64 = 0, ifError: Int64 = .max, removes: Bool = false
    ) -> TagPolicy {
        var policy = TagPolicy()
        policy.ttl = TagSpan(milliseconds: ttl)
        policy.staleWhileRevalidate = TagSpan(milliseconds: whileRevalidate)
        policy.staleIfError = TagSpan(milliseconds: ifError)
        policy.removesDeleted = removes
        return policy
    }

    /// ttl, staleWhileRevalidate, staleIfError, age, and the decision when nothing is known of the upstream.
    private static let ages: [(Int64, Int64, Int64, Int64, TagFreshness)] = [
        // Within the ttl nothing is asked; at its end the upstream is.
        (300, 0, .max, 0, .fresh), (300, 0, .max, 299, .fresh), (300, 0, .max, 300, .revalidate(.brief)),
        (.max, 0, .max, .max - 1, .fresh), (0, 0, .max, 0, .revalidate(.brief)),
        // staleWhileRevalidate begins where the ttl ends.
        (300, 50, .max, 299, .fresh), (300, 50, .max, 300, .revalidate(.none)),
        (300, 50, .max, 349, .revalidate(.none)),
        (300, 50, .max, 350, .revalidate(.brief)), (300, .max, 0, 1_000_000, .revalidate(.none)),
        (.max, .max, .max, 5, .fresh),
        // staleIfError counts from the last check, and limits how long the cached manifest may be given.
        (300, 0, 1000, 999, .revalidate(.brief)), (300, 0, 1000, 1000, .revalidate(.full)),
        (300, 0, 0, 300, .revalidate(.full)), (300, 0, 100, 299, .fresh), (300, 50, 0, 320, .revalidate(.none)),
        (0, 0, 0, 0, .revalidate(.full)),
    ]

    @Test("the age of a tag decides whether its upstream is asked and waited for", arguments: ages)
    func byAge(_ ttl: Int64, _ whileRevalidate: Int64, _ ifError: Int64, _ age: Int64, _ expected: TagFreshness) {
        let policy = Self.policy(ttl: ttl, whileRevalidate: whileRevalidate, ifError: ifError)
        var tag = TagSituation(policy: policy, ageMilliseconds: age)
        #expect(TagFreshness.decide(tag) == expected)
        // An air gap is never crossed.
        tag.airGapped = true
        tag.isForced = true
        #expect(TagFreshness.decide(tag) == .fresh)
        // A client that asks for it has the upstream asked at any age, also during a pause.
        tag.airGapped = false
        tag.pausedAfter = .unreachable
        guard case .revalidate(.brief) = TagFreshness.decide(tag) else {
            #expect(TagFreshness.decide(tag) == .revalidate(.full) && age >= max(ifError, policy.waitlessMilliseconds))
            return
        }
    }

    @Test("every failure of the upstream is served stale within staleIfError", arguments: TagCheckFailure.allCases)
    func failures(_ failure: TagCheckFailure) {
        func after(_ policy: TagPolicy, _ age: Int64) -> TagFreshness {
            let decision = TagFreshness.afterFailure(failure, policy, ageMilliseconds: age)
            // The pause after it has the same result.
            var tag = TagSituation(policy: policy, ageMilliseconds: age)
            tag.pausedAfter = failure
            #expect(TagFreshness.decide(tag) == (age < policy.ttl.milliseconds ? .fresh : decision))
            return decision
        }
        let isDeleted = failure == .deleted
        let stale = TagFreshness.stale(.failed(failure))
        #expect(after(Self.policy(ttl: 300), 1_000_000) == stale)
        #expect(after(Self.policy(ttl: 300, ifError: 1000), 999) == stale)
        #expect(after(Self.policy(ttl: 300, ifError: 1000), 1000) == (isDeleted ? stale : .refuse))
        #expect(after(Self.policy(ttl: 300, ifError: 0), 300) == (isDeleted ? stale : .refuse))
        #expect(after(Self.policy(ttl: 300, whileRevalidate: 50, ifError: 0), 349) == stale)
        #expect(after(Self.policy(ttl: 300, removes: true), 400) == (isDeleted ? .remove : stale))
        #expect(after(Self.policy(ttl: 300, ifError: 0, removes: true), 400) == (isDeleted ? .remove : .refuse))
    }

    /// The status of the upstream's answer, that of the error for the client, and what it means for a tag.
    private static let answers: [(Int?, Int, TagCheckFailure)] = [
        (404, 404, .deleted), (410, 404, .deleted), (401, 403, .denied), (403, 403, .denied), (451, 403, .denied),
        (nil, 403, .denied), (429, 429, .rateLimited), (nil, 429, .rateLimited), (500, 503, .badStatus),
        (503, 503, .badStatus), (408, 503, .badStatus), (400, 502, .badStatus), (300, 502, .badStatus),
        (508, 503, .badStatus), (nil, 502, .invalid), (200, 502, .invalid), (nil, 503, .unreachable),
    ]

    @Test("an upstream's answer is classified", arguments: answers)
    func classes(_ upstream: Int?, _ status: Int, _ failure: TagCheckFailure) {
        var error = RegistryError(status: status, code: .unknown, message: "x")
        error.upstreamStatus = upstream
        #expect(TagCheckFailure(error) == failure)
    }

    @Test("results and reasons have labels of their own") func labels() {
        #expect(Set(StaleReason.allCases.map(\.label)).count == StaleReason.allCases.count)
        #expect(StaleReason.allCases.map(\.index) == Array(StaleReason.allCases.indices))
        var counts = TagCounts()
        for result in TagCheckResult.allCases { counts.checked(result) }
        #expect(TagCheckResult.allCases.allSatisfy { counts.checkCount($0) == 1 })
    }
}
