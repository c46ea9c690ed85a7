import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite struct SmallPolicyTests {
    @Test("Via gets this server appended, and a loop or too many hops is a 508") func via() throws {
        #expect(try ViaChain.extend(nil, with: "me") == "1.1 me")
        #expect(try ViaChain.extend("1.1 other (x)", with: "me") == "1.1 other (x), 1.1 me")
        for loop in ["1.1 me", "1.0 a, 1.1 me (comment)", "HTTP/1.1\tme"] {
            let error = #expect(throws: RegistryError.self) { try ViaChain.extend(loop, with: "me") }
            #expect(error?.status == 508)
        }
        let long = Array(repeating: "1.1 x", count: ViaChain.maximumHops).joined(separator: ",")
        #expect(throws: RegistryError.self) { try ViaChain.extend(long, with: "me") }
    }

    @Test("media types from Accept that the server does not know are passed on once") func acceptedTypes() {
        let lines = [
            "application/vnd.docker.distribution.manifest.v1+prettyjws, application/vnd.oci.image.index.v1+json;q=0.5",
            "*/*, text/html, application/vnd.new+json; q=1, application/vnd.new+json",
        ]
        #expect(AcceptedTypes.extra(lines) == ["application/vnd.new+json"])
        #expect(AcceptedTypes.extra([";", " ; ,;;q=1,,", ""]).isEmpty)
    }
}
