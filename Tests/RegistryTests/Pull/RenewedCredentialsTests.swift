// Credentials that others change: files that are replaced, and docker's file. What is refused is asked for again, and
// no client sees the change.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct RenewedCredentialsTests {
    private static let image = FakeImage(layerBytes: [1000])
    private static let manifest = "/v2/team/app/manifests/"

    private static func basic(_ password: String) -> String {
        UpstreamCredentials(user: "me", password: password).basic ?? ""
    }

    /// A server whose only upstream takes the password that `accepted` says, itself or at its token service.
    private final class Scene {
        let mirror: MirrorKit
        let files: TemporaryDirectory
        var accepted = "one"
        /// Logins with a wrong password.
        var refusals = 0

        init(usesTokens: Bool, _ change: @escaping (inout MirrorKit.Options, TemporaryDirectory) throws -> Void) throws
        {
            let files = try TemporaryDirectory()
            self.files = files
            try files.write("one\n", to: "password")
            var failure: (any Error)?
            mirror = try MirrorKit {
                do { try change(&$0, files) } catch { failure = error }
            }
            if let failure { throw failure }
            let fake = mirror.fake
            fake.answer = { [unowned self, unowned fake] request in
                if usesTokens, request.path != "/token" {
                    let isMine = request.header("authorization") == "Bearer \(accepted)"
                    return isMine ? image.answer : .challenge(realm: "\(fake.url)/token")
                }
                guard let sent = request.header("authorization") else {
                    return .status(401, [("WWW-Authenticate", "Basic realm=\"r\"")])
                }
                guard sent == basic(accepted) else {
                    refusals += 1
                    return .status(401, [("WWW-Authenticate", "Basic realm=\"r\"")])
                }
                return usesTokens ? .token(accepted) : image.answer
            }
        }

        func get(_ tag: String) -> Int { mirror.get(manifest + tag).status }
    }

    @Test("a password file that changes is used at once, and no pull fails", arguments: [false, true])
    func rotation(_ usesTokens: Bool) throws {
        let scene = try Scene(usesTokens: usesTokens) { options, files in
            options.auth = RegistryAuth(.passwordFile(user: "me", path: files.file("password")))
        }
        for round in 0..<10 {
            let password = "secret-\(round)"
            #expect(scene.get("before-\(round)") == 200)
            try scene.files.write(password, to: "password")
            scene.accepted = password
            #expect(scene.get("after-\(round)") == 200)
        }
        #expect(scene.refusals <= 10)
        scene.mirror.close()
    }

    @Test("a wrong password in a file costs few logins, and the right one is tried at once", arguments: [false, true])
    func wrongFile(_ usesTokens: Bool) throws {
        let scene = try Scene(usesTokens: usesTokens) { options, files in
            try files.write("wrong", to: "password")
            options.auth = RegistryAuth(.passwordFile(user: "me", path: files.file("password")))
        }
        for number in 0..<40 { #expect(scene.get("v\(number)") == 403) }
        // A registry's own 401 may be about one repository, so it counts for that.
        #expect(scene.refusals <= 2)
        try scene.files.write("one", to: "password")
        #expect(scene.get("now") == 200)
        #expect(
            try scene.mirror.scrape()["ociregistry_upstream_credentials_refused_total{ns=\"registry.test\"}"] ?? 0 <= 2)
        scene.mirror.close()
    }

    @Test("forty pulls at once with a wrong password cost few logins, and with a right one no pull waits for another")
    func pullsAtOnce() throws {
        for password in ["wrong", "one"] {
            let scene = try Scene(usesTokens: false) { options, _ in
                options.auth = RegistryAuth(user: "me", password: Secret(password))
            }
            let clients = (0..<40).map { scene.mirror.start(.get(Self.manifest + "v\($0)")) }
            scene.mirror.wait(for: clients)
            let statuses = Set(clients.map(\.response.status))
            #expect(statuses == [password == "one" ? 200 : 403])
            #expect(scene.refusals <= 1)
            scene.mirror.close()
        }
    }

    @Test("a password file that is away does not keep an open upstream from being asked") func missingFile() throws {
        let scene = try Scene(usesTokens: false) { options, files in
            options.auth = RegistryAuth(.passwordFile(user: "me", path: files.file("nothing")))
        }
        let refused = scene.mirror.get(Self.manifest + "v1")
        #expect(refused.status == 503 && refused.text.contains("its credentials cannot be had"))
        scene.mirror.fake.answer = { _ in Self.image.answer }
        #expect(scene.get("v2") == 200)
        #expect(scene.mirror.log.text.contains("the credentials cannot be had"))
        scene.mirror.close()
    }

    // MARK: Docker's file

    private static func dockerConfig(_ host: String, _ password: String) -> String {
        "{\"auths\":{\"\(host)\":{\"username\":\"me\",\"password\":\"\(password)\"}}}"
    }

    @Test("docker's file has the credentials of an upstream by the host that is asked, and an entry beats it")
    func dockerFile() throws {
        let files = try TemporaryDirectory()
        var port: UInt16 = 0
        let config = files.file("config.json")
        let mirror = try MirrorKit {
            $0.dockerConfig = config
            $0.upstreams = { loop in
                let fake = FakeUpstream(on: loop)
                port = fake.port
                return [fake]
            }
        }
        try files.write(
            "{\"auths\":{\"127.0.0.1:\(port)\":{\"username\":\"me\",\"password\":\"mine\"},"
                + "\"registry.test\":{\"username\":\"me\",\"password\":\"not for its endpoint\"}}}", to: "config.json")
        let challenge = FakeAnswer.status(401, [("WWW-Authenticate", "Basic realm=\"r\"")])
        mirror.upstreams[0].answer = { request in
            request.header("authorization") == Self.basic("mine") ? Self.image.answer : challenge
        }
        #expect(mirror.get("/v2/127.0.0.1:\(port)/team/app/manifests/v1").status == 200)
        // `registry.test` has an endpoint, which is another host.
        mirror.fake.answer = { _ in challenge }
        #expect(mirror.get(Self.manifest + "v1").status == 403)
        #expect(mirror.fake.requests.allSatisfy { $0.header("authorization") == nil })
        mirror.close()
    }

    @Test("an identity token of docker's file is exchanged at the token service")
    func identityToken() throws {
        let files = try TemporaryDirectory()
        let mirror = try MirrorKit { $0.dockerConfig = files.file("config.json") }
        let fake = mirror.fake
        try files.write("{\"auths\":{\"\(fake.authority)\":{\"identitytoken\":\"refresh\"}}}", to: "config.json")
        let realm = "\(fake.url)/token"
        fake.answer = { request in
            if request.path == "/token" { return .json("{\"access_token\":\"access\"}") }
            let isMine = request.header("authorization") == "Bearer access"
            return isMine ? Self.image.answer : .challenge(realm: realm)
        }
        #expect(mirror.get(Self.manifest + "v1").status == 200)
        let login = try #require(fake.requests(to: "/token").first)
        #expect(login.method == "POST" && String(decoding: login.body, as: UTF8.self).contains("refresh_token=refresh"))
        mirror.close()
    }

    @Test("a changed entry of docker's file is used when the former one is refused") func dockerRotation() throws {
        let scene = try Scene(usesTokens: true) { options, files in
            options.dockerConfig = files.file("config.json")
        }
        let host = scene.mirror.fake.authority
        try scene.files.write(Self.dockerConfig(host, "one"), to: "config.json")
        #expect(scene.get("v1") == 200)
        scene.accepted = "two"
        try scene.files.write(Self.dockerConfig(host, "two"), to: "config.json")
        // A helper program may be behind it, which is not asked with every request.
        var status = 0
        for _ in 0..<200 where status != 200 {
            status = scene.get("v2")
            if status != 200 { scene.mirror.run.run(milliseconds: 20) }
        }
        #expect(status == 200)
        #expect(scene.refusals > 0)
        scene.mirror.close()
    }
}
