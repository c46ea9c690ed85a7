// Requests that were sent with credentials that have been replaced meanwhile.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct LateRefusalTests {
    @Test("a refusal that comes after others have renewed the credentials does not count against the new ones")
    func lateRefusal() throws {
        let image = FakeImage(layerBytes: [1000])
        let files = try TemporaryDirectory()
        let path = try files.write("one", to: "password")
        let mirror = try MirrorKit { $0.auth = RegistryAuth(.passwordFile(user: "me", path: path)) }
        var accepted = "one"
        mirror.fake.answer = { request in
            let password = UpstreamCredentials(user: "me", password: accepted).basic
            if request.header("authorization") == password { return image.answer }
            let refusal = FakeAnswer.status(401, [("WWW-Authenticate", "Basic realm=\"r\"")])
            return request.path.hasSuffix("/late") ? refusal.delayed(milliseconds: 200) : refusal
        }
        #expect(mirror.get("/v2/team/app/manifests/before").status == 200)
        try files.write("two", to: "password")
        accepted = "two"
        let clients = ["late", "early"].map { mirror.start(.get("/v2/team/app/manifests/\($0)")) }
        mirror.wait(for: clients)
        for client in clients { #expect(client.response.status == 200, "\(client.response.text)") }
        #expect(mirror.get("/v2/team/app/manifests/after").status == 200)
        mirror.close()
    }
}
