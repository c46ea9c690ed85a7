// A mirror with an image under a tag, and a clock for tags that the test moves.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

enum TagPolicyKit {
    static let old = FakeImage(seed: 1)
    static let new = FakeImage(seed: 2)
    static let target = "/v2/team/app/manifests/v1"

    static func policies(_ yaml: String) throws -> TagPolicies {
        try ConfigDecoder.decode(yaml: Array(yaml.utf8), file: "c.yaml") { _ in nil }.tags
    }

    static func mirror(
        _ yaml: String, _ change: @escaping (inout MirrorKit.Options) -> Void = { _ in }
    ) throws -> MirrorKit {
        let policies = try policies(yaml)
        let mirror = try MirrorKit {
            $0.policy.tags = policies
            change(&$0)
        }
        old.put(on: mirror.fake, tag: "v1")
        return mirror
    }

    static func methods(_ mirror: MirrorKit) -> [String] { mirror.fake.requests(to: target).map(\.method) }

    static func pass(_ milliseconds: UInt64, _ mirror: MirrorKit) { mirror.store.tagClockLead += milliseconds }
}
