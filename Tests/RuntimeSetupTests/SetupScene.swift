// A node whose files are written by `setup`, compared as a whole with what they were.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import RuntimeSetup

extension Node {
    static let mirrorURL = "http://mirror:8080"

    /// Sets up and returns what is to be restarted.
    @discardableResult
    func setUp(
        _ runtime: Runtime, _ mirror: String = mirrorURL, registries: [String] = [], authority: String? = nil,
        hostsOnly: Bool = false
    ) throws -> SetupPlan {
        let plan = try SetupPlan(
            SetupRequest(
                runtime: runtime, mirror: MirrorURL(mirror), registries: registries.compactMap { RegistryHost($0) },
                authorityFile: authority, root: root, hostsOnly: hostsOnly))
        _ = try plan.apply()
        return plan
    }

    @discardableResult
    func remove(_ runtime: Runtime, hostsOnly: Bool = false) throws -> [String] {
        try SetupPlan(SetupRequest(runtime: runtime, mirror: nil, root: root, hostsOnly: hostsOnly)).apply()
    }

    /// The reason of a refusal, below this root; nil when there is none. Nothing has been changed then.
    func refusal(
        _ runtime: Runtime, _ mirror: String = mirrorURL, registries: [String] = [], authority: String? = nil
    ) throws -> String? {
        let before = try contents()
        do {
            try setUp(runtime, mirror, registries: registries, authority: authority)
            return nil
        } catch let refusal as Refusal {
            #expect(try contents() == before)
            return refusal.reason.replacing(root, with: "")
        }
    }

    /// Every file with its content.
    func contents() throws -> [String: String] {
        var contents: [String: String] = [:]
        for path in try FileManager.default.subpathsOfDirectory(atPath: root) {
            var isDirectory: ObjCBool = false
            let place = files.file(path)
            if FileManager.default.fileExists(atPath: place, isDirectory: &isDirectory), !isDirectory.boolValue {
                contents[path] = try String(contentsOfFile: place, encoding: .utf8)
            }
        }
        return contents
    }

    func content(_ path: String) throws -> String { try #require(try contents()[path], "\(path)") }

    /// Sets up, looks at the result, sets up again without a change, and takes everything away.
    func checkRoundTrip(
        _ runtime: Runtime, registries: [String] = [], authority: String? = nil, mirror: String = mirrorURL,
        inBetween: () throws -> Void = {}
    ) throws {
        let before = try contents()
        let plan = try setUp(runtime, mirror, registries: registries, authority: authority)
        #expect(!plan.isEmpty)
        try inBetween()
        let after = try contents()
        let again = try setUp(runtime, mirror, registries: registries, authority: authority)
        #expect(again.isEmpty, "\(again.diff)")
        #expect(try contents() == after)
        // To another mirror and back is no change either.
        try setUp(runtime, "http://other:1", registries: registries)
        try setUp(runtime, mirror, registries: registries, authority: authority)
        #expect(try contents() == after)
        try remove(runtime)
        #expect(try contents() == before)
    }
}
