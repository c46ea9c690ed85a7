// The ttl of kept lists, which is that of the tags' policies.

import TestSupport
import Testing

@testable import Registry

@Suite struct ListPolicyTests {
    private typealias Signed = SignedImage

    /// Whether a second request for a list of tags, and for one of referrers, is answered without the upstream.
    private static func areFresh(_ policies: String) throws -> (tags: Bool, referrers: Bool) {
        let parsed = try TagPolicyKit.policies(policies)
        let mirror = try MirrorKit { $0.policy.tags = parsed }
        Signed.put(on: mirror.fake)
        for _ in 1...2 {
            for target in [Signed.tags, Signed.referrers] { #expect(mirror.get(target).status == 200) }
        }
        let isFresh = { mirror.fake.requests(to: $0).count == 1 }
        defer { mirror.close() }
        return (isFresh(Signed.tags), isFresh(Signed.referrers))
    }

    @Test("a list has the ttl of the tags' policies: as an empty tag, or as the tag that referrers are kept under")
    func policies() throws {
        for policies in ["tagTTL: 0s", "tagPolicies: [{match: 'team/app:', ttl: 0s}]"] {
            #expect(try Self.areFresh(policies) == (false, false), "\(policies)")
        }
        for policies in ["tagTTL: never", "tagPolicies: [{match: ':v1$', ttl: 0s}]", "alwaysPullLatest: true"] {
            #expect(try Self.areFresh(policies) == (true, true), "\(policies)")
        }
        #expect(try Self.areFresh("tagPolicies: [{match: ':sha256-', ttl: 0s}]") == (true, false))
        #expect(try Self.areFresh("tagPolicies: [{match: ':$', ttl: 0s}]") == (false, true))
    }
}
