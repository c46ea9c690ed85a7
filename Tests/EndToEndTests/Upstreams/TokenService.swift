// A token service for a real docker-registry: on the test's loop, with tokens that openssl has signed.

import Foundation
import TestSupport

@testable import OCI

/// Gives a token for pulls from one repository to `me`, or for an identity token, when the secret is right.
final class TokenService {
    let fake: FakeUpstream
    /// A token that the registry accepts.
    let token: String
    private(set) var refusals = 0
    private let files: TemporaryDirectory

    private static let service = "matrix"

    init(on run: LoopRun, secret: String, repository: String) throws {
        let files = try TemporaryDirectory()
        self.files = files
        try Command.check([
            "openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=tokens", "-newkey", "rsa:2048", "-keyout",
            files.file("key.pem"), "-out", files.file("certificate.pem"),
        ])
        token = try Self.token(for: repository, files)
        fake = FakeUpstream(on: run.loop)
        let (fake, token) = (fake, token)
        run.atClose { fake.close() }
        let basic = "Basic \(Base64.encode("me:\(secret)"))"
        fake.answer = { [unowned self] request in
            let form = String(decoding: request.body, as: UTF8.self)
            if request.header("authorization") == basic || form.contains("refresh_token=\(secret)") {
                return .token(token)
            }
            let isLogin = request.method == "POST" || request.header("authorization") != nil
            if isLogin { refusals += 1 }
            return .json("{\"details\":\"incorrect username or password\"}", status: 401)
        }
    }

    /// The registry's settings.
    var settings: String {
        "auth: {token: {realm: \"\(fake.url)/token\", service: \(Self.service), issuer: \(Self.service), "
            + "rootcertbundle: \"\(files.file("certificate.pem"))\"}}"
    }

    /// A token in docker's form (distribution, docs/spec/auth/jwt.md).
    private static func token(for repository: String, _ files: TemporaryDirectory) throws -> String {
        let pem = try String(contentsOfFile: files.file("certificate.pem"), encoding: .utf8)
        let certificate = pem.split(separator: "\n").filter { !$0.hasPrefix("-") }.joined()
        let now = Int(Date().timeIntervalSince1970)
        let header = "{\"typ\":\"JWT\",\"alg\":\"RS256\",\"x5c\":[\"\(certificate)\"]}"
        let claims =
            "{\"iss\":\"\(service)\",\"sub\":\"me\",\"aud\":\"\(service)\",\"exp\":\(now + 3600),\"nbf\":\(now - 60),"
            + "\"iat\":\(now),\"jti\":\"1\",\"access\":[{\"type\":\"repository\",\"name\":\"\(repository)\","
            + "\"actions\":[\"pull\"]}]}"
        let signed = [header, claims].map { encoded(Array($0.utf8)) }.joined(separator: ".")
        let input = try files.write(signed, to: "signed")
        let signature = try Command.check(["openssl", "dgst", "-sha256", "-sign", files.file("key.pem"), input])
        return "\(signed).\(encoded(signature))"
    }

    /// Base64 for URLs, without padding (RFC 7515 §2).
    private static func encoded(_ bytes: [UInt8]) -> String {
        let text = Data(bytes).base64EncodedString()
        return text.replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }
}
