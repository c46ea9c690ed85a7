// A mirror whose policies have a cooldown, with clocks that the test moves.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

/// Tags of `team/app` wait for three days, but for `free…`. Other repositories do not wait.
struct CooldownKit {
    static let day: Int64 = 86_400
    static let policies = """
        tagPolicies:
        - {match: ':free', ttl: 1m}
        - {match: 'team/app:', ttl: 1m, cooldown: 3d}
        - {match: '.*', ttl: 1m}
        """
    static let old = FakeImage(layerBytes: [1000, 2000], seed: 51)
    static let new = FakeImage(layerBytes: [1500, 2500], seed: 52)
    static let latest = "/v2/team/app/manifests/latest"
    static let free = "/v2/team/app/manifests/free"

    let mirror: MirrorKit

    init(_ yaml: String = policies, _ change: @escaping (inout MirrorKit.Options) -> Void = { _ in }) throws {
        let policies = try TagPolicyKit.policies(yaml)
        mirror = try MirrorKit {
            $0.policy.tags = policies
            change(&$0)
        }
    }

    static func manifest(_ image: FakeImage, _ repository: String = "team/app") -> String {
        "/v2/\(repository)/manifests/\(image.digest)"
    }

    static func layer(_ image: FakeImage, _ repository: String = "team/app") -> String {
        "/v2/\(repository)/blobs/\(digestOf(image.layers[0]))"
    }

    func get(_ target: String) -> TestClient.Response { mirror.get(target) }

    /// Lets time pass on all clocks. They are read in whole seconds: a wait is over two seconds after its end at the
    /// latest. A test that expects a hold leaves it half a minute or more, since it may run on a busy machine.
    func pass(seconds: Int64) {
        mirror.store.cooldownLead.wallSeconds += seconds
        mirror.store.cooldownLead.monotonicSeconds += seconds
        mirror.store.tagClockLead += UInt64(seconds) * 1000
    }

    func approve(_ image: FakeImage) { mirror.store.record(.approved(image.digest)) }

    /// Expects that something is held back.
    func expectHeld(
        _ target: String, by digest: Digest? = nil, _ location: SourceLocation = #_sourceLocation
    ) {
        for method in ["GET", "HEAD"] {
            let answer = mirror.ask(.init(method: method, target: target)).response
            #expect(answer.status == 403, "\(method) \(target)", sourceLocation: location)
            if method == "GET" {
                #expect(answer.errorCode == "DENIED" && answer.text.contains("cooldown"), sourceLocation: location)
            }
            let field = answer.header("x-ociregistry-cooldown")
            if let digest {
                #expect(field?.hasPrefix("\(digest); until=20") == true, "\(field ?? "")", sourceLocation: location)
            }
        }
    }

    /// Expects an image to be served as a whole, by its digest.
    func expectServed(
        _ image: FakeImage, _ repository: String = "team/app", _ location: SourceLocation = #_sourceLocation
    ) {
        #expect(get(Self.manifest(image, repository)).body == image.manifest, sourceLocation: location)
        for blob in image.blobs {
            #expect(get("/v2/\(repository)/blobs/\(digestOf(blob))").body == blob, sourceLocation: location)
        }
    }

    func close(_ location: SourceLocation = #_sourceLocation) {
        mirror.settle(location)
        mirror.close(location)
    }
}
