// Real registries that want credentials, each with the right and with wrong ones.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite(.needs(.dockerRegistry, .nginx, .openssl, .skopeo)) struct UpstreamMatrixTests {
    private static let name = "registry.test/\(MatrixUpstream.repository)"

    private static func serve(_ upstream: MatrixUpstream) throws -> OciRegistryProcess {
        try OciRegistryProcess(
            registries: "- name: registry.test\n  \(upstream.entry)\n", arguments: ["--no-prefetch-layers"],
            settings: upstream.settings, environment: upstream.environment)
    }

    @Test("the right credentials pull an image, without a refused login", arguments: MatrixRow.allCases)
    func right(_ row: MatrixRow) throws {
        let run = try LoopRun()
        let upstream = try MatrixUpstream(row, isRight: true, on: run)
        let server = try Self.serve(upstream)
        let puller = try MirrorPuller(server, on: run)
        let wrong = puller.pull(MatrixUpstream.image, from: Self.name, tag: "v0")
        #expect(wrong?.status == nil, "\(wrong?.text ?? "")\n\(server.process.errors.text)")
        try run.copy(MatrixUpstream.image, from: "\(server.address)/\(Self.name):v1")
        #expect(try server.stop() == 0)
        #expect(try upstream.stop() ?? 0 == 0)
        if [.credentialHelper, .credentialStore].contains(row) {
            #expect(upstream.helperRuns == ["get \(upstream.address)"])
        }
        run.close()
    }

    @Test(
        "wrong credentials give 403 with the reason, and forty pulls cause two logins at most",
        arguments: MatrixRow.allCases)
    func wrong(_ row: MatrixRow) throws {
        let run = try LoopRun()
        let upstream = try MatrixUpstream(row, isRight: false, on: run)
        let server = try Self.serve(upstream)
        let puller = try MirrorPuller(server, on: run)
        for tag in MatrixUpstream.tags {
            let response = puller.get("/v2/\(Self.name)/manifests/\(tag)")
            #expect(response.status == 403 && response.errorCode == "DENIED", "\(response.status) \(response.text)")
            #expect(response.text.contains("registry.test denied access"))
        }
        #expect(try server.stop() == 0)
        if let refusals = try upstream.stop() { #expect((1...2).contains(refusals), "\(refusals) logins") }
        #expect(!server.process.errors.text.contains("s3cret"))
        #expect(upstream.helperRuns.count <= 3, "a helper is asked once a second at most")
        run.close()
    }
}
