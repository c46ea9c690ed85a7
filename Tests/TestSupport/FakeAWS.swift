// ECR, the Security Token Service, the instance metadata service and a container's credential service, played by a
// FakeUpstream. Signatures are verified.

internal import Foundation

package final class FakeAWS {
    package struct Key {
        package let id: String
        package let secret: String
        package let session: String?

        package init(id: String, secret: String, session: String?) {
            self.id = id
            self.secret = secret
            self.session = session
        }
    }

    package let fake: FakeUpstream
    /// The keys that exist now.
    package var keys: [String: Key] = [:]
    /// The life of issued keys, and of ECR's tokens, in seconds.
    package var keySeconds: Int64 = 3600
    package var tokenSeconds: Double = 43_200
    /// The authorization that a container's requests must carry.
    package var containerAuthorization: String?
    package var hasInstanceRole = true
    /// Tokens given, and the signature of each request that was accepted.
    package private(set) var tokenCount = 0
    package private(set) var accepted: [SignatureV4] = []
    /// Length of issued session tokens.
    package var sessionBytes = 1200
    private var sessions: Set<String> = []
    private var count = 0

    package init(_ fake: FakeUpstream) {
        self.fake = fake
        fake.answer = { [unowned self] in answer($0) }
    }

    /// Makes a key with characters in the secret that separate parts elsewhere.
    package func issue(_ kind: String, isTemporary: Bool = true) -> Key {
        count += 1
        let session = isTemporary ? String(repeating: "s/+=", count: sessionBytes / 4) + "\(count)" : nil
        let key = Key(id: "A\(kind.uppercased())\(count)", secret: "s3cr/t+\(kind):=\(count)", session: session)
        keys[key.id] = key
        return key
    }

    /// The requests for tokens of ECR.
    package var tokenRequests: [FakeRequest] { fake.requests.filter { $0.header("x-amz-target") != nil } }

    private func answer(_ request: FakeRequest) -> FakeAnswer {
        if request.path.hasPrefix("/latest/") { return metadata(request) }
        if request.path.hasPrefix("/v2/credentials/") { return container(request) }
        guard request.method == "POST" else { return .status(404) }
        return request.header("x-amz-target") == nil ? securityToken(request) : registryToken(request)
    }

    // MARK: ECR

    private func registryToken(_ request: FakeRequest) -> FakeAnswer {
        guard let signature = SignatureV4(request) else { return error("MissingAuthenticationTokenException") }
        if let problem = problem(signature, request, service: "ecr") { return error(problem) }
        guard request.header("x-amz-target") == "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
            request.header("content-type") == "application/x-amz-json-1.1"
        else { return error("UnknownOperationException") }
        accepted.append(signature)
        tokenCount += 1
        let token = Data("AWS:password-\(tokenCount)".utf8).base64EncodedString()
        let expiry = Date().timeIntervalSince1970 + tokenSeconds
        return .json("{\"authorizationData\":[{\"authorizationToken\":\"\(token)\",\"expiresAt\":\(expiry)}]}")
    }

    /// The error's message quotes the request, as that of AWS does.
    private func error(_ code: String) -> FakeAnswer {
        let quoted = fake.requests.last?.header("x-amz-security-token") ?? ""
        return .json("{\"__type\":\"com.amazonaws.ecr#\(code)\",\"message\":\"\(quoted)\"}", status: 400)
    }

    /// The error code for a signature; nil when it is right.
    private func problem(_ signature: SignatureV4, _ request: FakeRequest, service: String) -> String? {
        guard let key = keys[signature.keyID], request.header("x-amz-security-token") == key.session else {
            return "UnrecognizedClientException"
        }
        var needed = ["host", "x-amz-date", "content-type"]
        if key.session != nil { needed.append("x-amz-security-token") }
        if request.header("x-amz-target") != nil { needed.append("x-amz-target") }
        guard signature.service == service, signature.isValid(for: request, secret: key.secret),
            needed.allSatisfy(signature.signedHeaders.contains)
        else { return "InvalidSignatureException" }
        return nil
    }

    // MARK: Security Token Service

    private func securityToken(_ request: FakeRequest) -> FakeAnswer {
        var form = URLComponents()
        form.percentEncodedQuery = String(decoding: request.body, as: UTF8.self)
        func value(_ name: String) -> String? { form.queryItems?.first { $0.name == name }?.value }
        let action = value("Action") ?? ""
        guard value("Version") == "2011-06-15", value("RoleArn")?.hasPrefix("arn:aws:iam::") == true,
            value("RoleSessionName") != nil
        else { return xml("ValidationError") }
        switch action {
        case "AssumeRoleWithWebIdentity":
            guard value("WebIdentityToken") == "eyJ.web+identity/token=" else { return xml("InvalidIdentityToken") }
        case "AssumeRole":
            guard let signature = SignatureV4(request) else { return xml("MissingAuthenticationToken") }
            if problem(signature, request, service: "sts") != nil { return xml("InvalidClientTokenId") }
            accepted.append(signature)
        default: return xml("InvalidAction")
        }
        let key = issue(action == "AssumeRole" ? "role" : "web")
        return FakeAnswer(
            headers: [("Content-Type", "text/xml")],
            body: Array(
                """
                <\(action)Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><\(action)Result><Credentials>
                <AccessKeyId>\(key.id)</AccessKeyId><SecretAccessKey>\(key.secret)</SecretAccessKey>
                <SessionToken>\(key.session ?? "")</SessionToken><Expiration>\(expiry)</Expiration>
                </Credentials></\(action)Result></\(action)Response>
                """.utf8))
    }

    private func xml(_ code: String) -> FakeAnswer {
        .status(400, body: "<ErrorResponse><Error><Type>Sender</Type><Code>\(code)</Code></Error></ErrorResponse>")
    }

    private var expiry: String {
        ISO8601DateFormatter().string(from: Date(timeIntervalSinceNow: TimeInterval(keySeconds)))
    }

    // MARK: Metadata

    private func metadata(_ request: FakeRequest) -> FakeAnswer {
        if request.path == "/latest/api/token" {
            guard request.method == "PUT", request.header("x-aws-ec2-metadata-token-ttl-seconds") != nil else {
                return .status(400)
            }
            let session = "session\(sessions.count)=="
            sessions.insert(session)
            return .ok(Array(session.utf8), type: "text/plain")
        }
        // Version 1 has no session, and is refused.
        guard let session = request.header("x-aws-ec2-metadata-token"), sessions.contains(session) else {
            return .status(401)
        }
        switch request.path {
        case "/latest/meta-data/iam/security-credentials/":
            return hasInstanceRole ? .ok(Array("my-role".utf8), type: "text/plain") : .status(404)
        case "/latest/meta-data/iam/security-credentials/my-role":
            return credentials("instance", "\"Code\":\"Success\",")
        default: return .status(404)
        }
    }

    private func container(_ request: FakeRequest) -> FakeAnswer {
        guard request.header("authorization") == containerAuthorization else { return .status(401) }
        return credentials("container", "")
    }

    private func credentials(_ kind: String, _ more: String) -> FakeAnswer {
        let key = issue(kind)
        return .json(
            "{\(more)\"AccessKeyId\":\"\(key.id)\",\"SecretAccessKey\":\"\(key.secret)\","
                + "\"Token\":\"\(key.session ?? "")\",\"Expiration\":\"\(expiry)\"}")
    }
}
