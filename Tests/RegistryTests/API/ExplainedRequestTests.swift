// What `explain` says of requests is what the server sends.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ExplainedRequestTests {
    @Test(
        "the explained requests are those that a pull sends, in the same order",
        arguments: [("r.test", "", true), ("*.test", "/a/v2/b", true), ("*", "/proxy", false), ("*.test", "", false)])
    func requests(_ name: String, _ path: String, _ sendsNamespace: Bool) throws {
        var fakes: [FakeUpstream] = []
        var registries: [RegistryConfig] = []
        let mirror = try MirrorKit {
            $0.upstreams = { loop in
                fakes = (0..<3).map { _ in FakeUpstream(on: loop) }
                return fakes
            }
            $0.registries = { _ in
                registries = fakes.isEmpty ? [] : Self.entries(name, fakes.map { $0.url + path }, sendsNamespace)
                return registries
            }
        }
        let image = FakeImage(layerBytes: [10])
        fakes[1].answer = { _ in image.answer }
        #expect(mirror.get("/v2/r.test/team/app/manifests/v1").body == image.manifest)
        mirror.close()

        var config = Config()
        config.registries = registries
        let explanation = ImageExplanation(
            try WrittenImageName("r.test/team/app:v1"), config: config, docker: nil)
        let lines = Dictionary(uniqueKeysWithValues: explanation.lines.map { ($0.key, $0.value) })
        for (index, fake) in fakes.prefix(2).enumerated() {
            let request = try #require(fake.requests.first)
            let query = request.query.map { "?\($0)" } ?? ""
            #expect(lines["endpoint[\(index)].request"] == "GET \(fake.url)\(request.path)\(query)")
            #expect(lines["endpoint[\(index)].404"] == "the next endpoint is asked")
        }
        // The second one has answered.
        #expect(fakes[2].requests.isEmpty)
        #expect(lines["entry"] == "registries[1], \(name == "r.test" ? "exact name" : "pattern") \(name)")
    }

    /// An entry for another host, and one with these endpoints.
    private static func entries(_ name: String, _ urls: [String], _ sendsNamespace: Bool) -> [RegistryConfig] {
        guard let other = try? RegistryPattern(parsing: "other.example"),
            let pattern = try? RegistryPattern(parsing: name)
        else { return [] }
        var config = RegistryConfig(name: pattern)
        config.isList = true
        config.endpoints = urls.compactMap { try? EndpointConfig(EndpointAddress(parsing: $0)) }
        config.sendsNamespace = sendsNamespace
        return [RegistryConfig(name: other), config]
    }
}
