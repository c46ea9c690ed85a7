// Sessions whose every step is known, and what every counter says after them.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct PullSessionTests {
    static let image = "/v2/team/app"

    /// Differences of the counters that count events, without times and sizes of this run.
    private static func counts(_ new: Scrape, since old: Scrape) -> [String: Double] {
        let families = Catalog.families.filter { family in
            family.kind != .gauge && !family.name.hasPrefix("process_") && !family.name.contains("_loop_")
                && !family.name.contains("_pool_") && !family.name.contains("_connections_")
        }
        return new.increases(since: old).filter { series, _ in
            let name = series.prefix { $0 != "{" }
            return families.contains { family in
                family.kind == .counter ? name == family.name : name == family.name + "_count"
            }
        }
    }

    /// The reference's names, and nothing else.
    private static func reference(_ counts: [String: Double]) -> [String: Double] {
        let names = Catalog.families.prefix(10).map(\.name)
        return counts.filter { series, _ in names.contains { series == $0 || series.hasPrefix($0 + "{") } }
    }

    @Test("a cold and a warm pull of an image count as in the original server") func coldThenWarm() throws {
        let mirror = try MirrorKit()
        let layers = (0..<6).map { pattern(3000 + $0, seed: UInt64($0)) }
        for layer in layers { mirror.fake.on("\(Self.image)/blobs/\(digestOf(layer))") { .blob(layer, for: $0) } }
        let manifest = FakeImage()
        let index = FakeImage.index([manifest])
        manifest.put(on: mirror.fake, tag: "amd64")
        for name in ["v1", "\(digestOf(index))"] {
            mirror.fake.on(
                "\(Self.image)/manifests/\(name)",
                .manifest(index, type: MediaType.ociIndex.text, digest: "\(digestOf(index))"))
        }
        let before = try mirror.scrape()
        func pull() {
            for reference in ["v1", "\(manifest.digest)"] {
                #expect(mirror.head("\(Self.image)/manifests/\(reference)").status == 200)
                #expect(mirror.get("\(Self.image)/manifests/\(reference)").status == 200)
            }
            for layer in layers { #expect(mirror.get("\(Self.image)/blobs/\(digestOf(layer))").body == layer) }
        }
        pull()
        mirror.settle()
        let cold = try mirror.scrape()
        let coldCounts = Self.counts(cold, since: before)
        let bytes = Double(layers.map(\.count).reduce(0, +))
        let manifestBytes = Double(manifest.manifest.count + index.count)
        let ns = "{ns=\"registry.test\"}"
        #expect(
            coldCounts == [
                "ociregistry_upstream_pulls_by_ns\(ns)": 4, "ociregistry_manifest_pulls_total": 4,
                "ociregistry_blob_pulls_total": 6, "ociregistry_v2_api_endpoint_hits_total": 10,
                "ociregistry_http_request_duration_seconds_count{endpoint=\"manifest\",verdict=\"miss\"}": 4,
                "ociregistry_http_request_duration_seconds_count{endpoint=\"blob\",verdict=\"miss\"}": 6,
                "ociregistry_http_time_to_first_byte_seconds_count{endpoint=\"manifest\",verdict=\"miss\"}": 4,
                "ociregistry_http_time_to_first_byte_seconds_count{endpoint=\"blob\",verdict=\"miss\"}": 6,
                "ociregistry_http_responses_total{endpoint=\"manifest\",class=\"2xx\"}": 4,
                "ociregistry_http_responses_total{endpoint=\"blob\",class=\"2xx\"}": 6,
                "ociregistry_http_response_bytes_total{verdict=\"miss\"}": bytes + manifestBytes,
                "ociregistry_upstream_requests_total{ns=\"registry.test\",class=\"2xx\"}": 10,
                "ociregistry_upstream_received_bytes_total\(ns)": bytes + manifestBytes,
                "ociregistry_upstream_request_duration_seconds_count\(ns)": 10,
                "ociregistry_upstream_time_to_first_byte_seconds_count\(ns)": 10,
                "ociregistry_pulls_total{kind=\"manifest\",result=\"success\"}": 2,
                "ociregistry_pulls_total{kind=\"blob\",result=\"success\"}": 6,
            ])
        #expect(cold["ociregistry_cached_blob_count"] == 6)
        #expect(cold["ociregistry_blob_bytes_on_disk_total"] == bytes)
        // The index and its image by digest, and the index again by tag.
        #expect(cold["ociregistry_cached_manifest_count"] == 3)
        #expect(cold["ociregistry_manifest_bytes_on_disk_total"] == manifestBytes)
        #expect(cold["ociregistry_http_requests_in_flight"] == 0)
        pull()
        #expect(
            Self.counts(try mirror.scrape(), since: cold) == [
                "ociregistry_cached_pulls_by_ns_total\(ns)": 4, "ociregistry_manifest_pulls_total": 4,
                "ociregistry_blob_pulls_total": 6, "ociregistry_v2_api_endpoint_hits_total": 10,
                "ociregistry_http_request_duration_seconds_count{endpoint=\"manifest\",verdict=\"hit\"}": 4,
                "ociregistry_http_request_duration_seconds_count{endpoint=\"blob\",verdict=\"hit\"}": 6,
                "ociregistry_http_time_to_first_byte_seconds_count{endpoint=\"manifest\",verdict=\"hit\"}": 4,
                "ociregistry_http_time_to_first_byte_seconds_count{endpoint=\"blob\",verdict=\"hit\"}": 6,
                "ociregistry_http_responses_total{endpoint=\"manifest\",class=\"2xx\"}": 4,
                "ociregistry_http_responses_total{endpoint=\"blob\",class=\"2xx\"}": 6,
                "ociregistry_http_response_bytes_total{verdict=\"hit\"}": bytes + manifestBytes,
                "ociregistry_tag_age_seconds_count": 2,
            ])
        mirror.close()
    }

    @Test("requests that join a pull count as cached, and the one that began it as upstream") func coalesced() throws {
        let mirror = try MirrorKit()
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "v1")
        let blob = pattern(200_000, seed: 9)
        let target = "\(Self.image)/blobs/\(digestOf(blob))"
        mirror.fake.on(target) { .blob(blob, for: $0) }
        let before = try mirror.scrape()
        let clients = (0..<8).map { _ in mirror.start(.get("\(Self.image)/manifests/v1")) }
        let readers = (0..<5).map { _ in mirror.start(.get(target)) }
        mirror.wait(for: clients + readers)
        mirror.settle()
        let counts = Self.counts(try mirror.scrape(), since: before)
        #expect(
            Self.reference(counts) == [
                "ociregistry_upstream_pulls_by_ns{ns=\"registry.test\"}": 1,
                "ociregistry_cached_pulls_by_ns_total{ns=\"registry.test\"}": 7,
                "ociregistry_manifest_pulls_total": 8, "ociregistry_blob_pulls_total": 5,
                "ociregistry_v2_api_endpoint_hits_total": 13,
            ])
        #expect(counts["ociregistry_coalesced_requests_total{endpoint=\"manifest\"}"] == 7)
        #expect(counts["ociregistry_coalesced_requests_total{endpoint=\"blob\"}"] == 4)
        #expect(counts["ociregistry_http_responses_total{endpoint=\"blob\",class=\"2xx\"}"] == 5)
        mirror.close()
    }

    @Test("failed pulls are counted, except those without a registry name") func failures() throws {
        let mirror = try MirrorKit { $0.policy = .init(airGapped: false, defaultHost: nil) }
        let before = try mirror.scrape()
        #expect(mirror.get("/v2/").status == 200)
        #expect(mirror.get("/v2/auth").status == 200)
        #expect(mirror.get("/v2/app/manifests/v1").status == 400)
        #expect(mirror.get("/v2/app/blobs/\(digestOf([1]))").status == 404)
        #expect(mirror.get("/v2/registry.test/app/manifests/v1").status == 404)
        #expect(mirror.get("/v2/registry.test/app/manifests/sha256:1").status == 400)
        #expect(mirror.get("/v2/registry.test/app/blobs/\(digestOf([1]))").status == 404)
        #expect(mirror.get("/v2/127.0.0.1:1/app/manifests/v1").status == 403)
        #expect(mirror.get("/v2/registry.test/app/tags/list").status == 404)
        #expect(mirror.get("/elsewhere").status == 404)
        let counts = Self.counts(try mirror.scrape(), since: before)
        #expect(
            Self.reference(counts) == [
                "ociregistry_upstream_pulls_by_ns{ns=\"registry.test\"}": 1,
                "ociregistry_upstream_pulls_by_ns{ns=\"other\"}": 1, "ociregistry_manifest_pulls_total": 4,
                "ociregistry_blob_pulls_total": 2, "ociregistry_v2_api_endpoint_hits_total": 8,
                "ociregistry_api_errors_total": 4,
            ])
        #expect(counts["ociregistry_upstream_requests_total{ns=\"other\",class=\"error\"}"] == 1)
        #expect(counts["ociregistry_upstream_requests_total{ns=\"registry.test\",class=\"4xx\"}"] == 3)
        #expect(counts["ociregistry_http_request_duration_seconds_count{endpoint=\"manifest\",verdict=\"error\"}"] == 4)
        #expect(counts["ociregistry_http_request_duration_seconds_count{endpoint=\"other\",verdict=\"error\"}"] == 1)
        #expect(counts["ociregistry_pulls_total{kind=\"blob\",result=\"failure\"}"] == 1)
        mirror.close()
    }

    @Test("stale answers, resumed, wrong and abandoned transfers and bad requests are counted")
    func incidents() throws {
        let mirror = try MirrorKit { $0.policy.tags = TagPolicies(checksLatest: true) }
        let image = FakeImage()
        image.put(on: mirror.fake, tag: "latest")
        let latest = "\(Self.image)/manifests/latest"
        #expect(mirror.get(latest).status == 200)
        let (broken, wrong, long) = (pattern(90_000, seed: 1), pattern(90_000, seed: 2), pattern(4_000_000, seed: 3))
        func target(_ blob: [UInt8]) -> String { "\(Self.image)/blobs/\(digestOf(blob))" }
        mirror.fake.on(target(broken), { .blob(broken, for: $0).cut(after: 40_000) }, { .blob(broken, for: $0) })
        mirror.fake.on(target(wrong)) { .blob(wrong, for: $0).corrupted(at: 70_000) }
        mirror.fake.on(target(long)) { .blob(long, for: $0) }
        let before = try mirror.scrape()
        mirror.fake.on(latest, .status(500))
        #expect(mirror.get(latest).status == 200)
        #expect(mirror.get(target(broken)).body == broken)
        #expect(!mirror.ask(.get(target(wrong))).isComplete)
        var manner = TestClient.ClientBehavior()
        manner.leavesAfterBodyBytes = 1000
        manner.leavesByReset = true
        manner.receiveBufferBytes = 4096
        mirror.ask(.get(target(long)), manner: manner)
        mirror.start(.get("/v2/")).sendRaw(Array("no request\r\n\r\n".utf8))
        mirror.settle()
        mirror.wait(until: { mirror.metrics.requests.inFlight == 0 })
        let counts = Self.counts(try mirror.scrape(), since: before)
        #expect(counts["ociregistry_http_request_duration_seconds_count{endpoint=\"manifest\",verdict=\"stale\"}"] == 1)
        #expect(counts["ociregistry_pulls_resumed_total"] == 1)
        #expect(counts["ociregistry_verification_failures_total{kind=\"blob\"}"] == 1)
        #expect(counts["ociregistry_http_request_duration_seconds_count{endpoint=\"blob\",verdict=\"error\"}"] == 1)
        #expect(counts["ociregistry_http_requests_aborted_total"] == 1)
        #expect(counts["ociregistry_http_requests_malformed_total"] == 1)
        #expect(counts["ociregistry_api_errors_total"] == 1)
        mirror.close()
    }
}
