// How each source of AWS credentials is asked.

internal import Configuration
internal import OCI

extension AWSCredentialChain {
    typealias Fetched = (Result<AWSCredentials, CredentialFailure>) -> Void

    /// Asks a source. A failure begins with the source's name.
    func fetch(_ source: AWSSource, then: @escaping Fetched) {
        let named: Fetched = { result in
            then(result.mapError { CredentialFailure("\(source.name): \($0.reason)") })
        }
        switch source {
        case .keys(let credentials, _): services.loop.deferred.complete(then, .success(credentials))
        case .program(let words, _):
            services.runProgram(words, []) { result in
                named(result.decoded { bytes throws(CredentialFailure) in try AWSAnswers.credentials(bytes, .program) })
            }
        case .webIdentity(let role, let file): fetchWebIdentity(role, file, then: named)
        case .container: fetchContainer(then: named)
        case .instance: fetchInstance(then: named)
        case .role(let role, let base):
            // The base names itself in its failures.
            fetch(base) { [self] result in
                switch result {
                case .success(let credentials): assume(role, with: credentials, then: named)
                case .failure(let failure): then(.failure(failure))
                }
            }
        }
    }

    // MARK: Security Token Service

    private func fetchWebIdentity(_ role: AWSRole, _ file: String, then: @escaping Fetched) {
        readToken(file, atMost: SecurityTokens.maximumTokenBytes) { [self] result in
            switch result {
            case .success(let token):
                askSecurityTokens(role, SecurityTokens.body(role, webIdentityToken: token), nil, then)
            case .failure(let failure): then(.failure(failure))
            }
        }
    }

    private func assume(_ role: AWSRole, with credentials: AWSCredentials, then: @escaping Fetched) {
        askSecurityTokens(role, SecurityTokens.body(role), credentials, then)
    }

    private func askSecurityTokens(
        _ role: AWSRole, _ body: [UInt8], _ credentials: AWSCredentials?, _ then: @escaping Fetched
    ) {
        let region = settings.region ?? role.region ?? self.region
        let text = settings.securityTokenEndpoint ?? AWSPartition.securityTokenEndpoint(region: region)
        guard let text, AWSPartition.of(region: region) != nil,
            let url = UpstreamURL(text)
        else { return deny(then, "the region or the endpoint of the Security Token Service is not valid") }
        var request = requests.request(url, isNamed: settings.securityTokenEndpoint != nil, .endpoint)
        request.method = .post
        request.body = body
        request.headers = ["Content-Type: application/x-www-form-urlencoded; charset=utf-8"]
        request.awsSignature = credentials.map { AWSSignature($0, region: region, service: "sts") }
        requests.send(request, .endpoint) { result in
            then(
                result.decoded { answer throws(CredentialFailure) in
                    guard answer.status == 200 else {
                        let code = SecurityTokens.errorCode(answer.body).map { " \($0)" } ?? ""
                        throw CredentialFailure("\(url.host) answered \(answer.status)\(code)")
                    }
                    return try SecurityTokens.credentials(answer.body)
                })
        }
    }

    // MARK: Containers

    /// Longest token for a container's credentials, in bytes: that of EKS Pod Identity is a web identity token.
    private static let maximumContainerTokenBytes = SecurityTokens.maximumTokenBytes

    private func fetchContainer(then: @escaping Fetched) {
        guard let text = settings.containerURL, let url = UpstreamURL(text), AWSSettings.admitsContainer(url) else {
            return deny(then, "its URL is neither https nor on this machine or its link")
        }
        guard let file = settings.containerTokenFile else {
            return askContainer(url, settings.containerToken, then)
        }
        readToken(file, atMost: Self.maximumContainerTokenBytes) { [self] result in
            switch result {
            case .success(let token): askContainer(url, token, then)
            case .failure(let failure): then(.failure(failure))
            }
        }
    }

    private func askContainer(_ url: UpstreamURL, _ token: Secret?, _ then: @escaping Fetched) {
        var request = requests.request(url, isNamed: true, isDirect: true, .metadata)
        request.headers = ["Accept: application/json"]
        if let token {
            guard token.revealed.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else {
                return deny(then, "its authorization token has characters that no header can carry")
            }
            request.headers.append("Authorization: \(token.revealed)")
        }
        requests.send(request, .metadata) { result in
            then(
                result.decoded { answer throws(CredentialFailure) in
                    guard answer.status == 200 else { throw CredentialFailure("it answered \(answer.status)") }
                    return try AWSAnswers.credentials(answer.body, .container)
                })
        }
    }

    // MARK: Instances

    private static let rolesPath = "/latest/meta-data/iam/security-credentials/"
    /// The life of a session with the metadata service, in seconds: three requests are made in it.
    private static let sessionSeconds = 60
    /// Longest session token accepted, in bytes: it has 56.
    private static let maximumSessionBytes = 1024

    /// Asks the instance metadata service, version 2 only: version 1 answers to any request that software on this
    /// machine can be made to send.
    private func fetchInstance(then: @escaping Fetched) {
        guard let base = UpstreamURL(settings.metadataEndpoint),
            let url = base.with(path: "/latest/api/token", query: nil)
        else { return deny(then, "AWS_EC2_METADATA_SERVICE_ENDPOINT is not a URL") }
        var request = requests.request(url, isNamed: true, isDirect: true, .metadataToken)
        request.method = .put
        request.headers = ["X-aws-ec2-metadata-token-ttl-seconds: \(Self.sessionSeconds)"]
        requests.send(request, .metadataToken) { [self] result in
            switch result {
            case .success(let answer):
                let session = String(decoding: answer.body, as: UTF8.self).trimmed
                guard answer.status == 200, (1...Self.maximumSessionBytes).contains(session.utf8.count),
                    session.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
                else { return deny(then, "it answered \(answer.status) to the request for a session") }
                askForRole(base, Secret(session), then)
            case .failure(let failure):
                deny(then, "\(failure.reason) (in a container, the instance's hop limit must be at least 2)")
            }
        }
    }

    private func askForRole(_ base: UpstreamURL, _ session: Secret, _ then: @escaping Fetched) {
        askMetadata(base, Self.rolesPath, session) { [self] result in
            let name: Result<String, CredentialFailure> = result.decoded { answer throws(CredentialFailure) in
                // The characters of a role's name (IAM API Reference, RoleName); further lines cannot be.
                let line = answer.body.prefix { $0 != 0x0A && $0 != 0x0D }
                let name = String(decoding: line, as: UTF8.self).trimmed
                let isName = name.utf8.allSatisfy {
                    ASCII.isLetter($0) || ASCII.isDigit($0) || [0x2B, 0x3D, 0x2C, 0x2E, 0x40, 0x2D, 0x5F].contains($0)
                }
                guard answer.status == 200, isName, (1...64).contains(name.utf8.count) else {
                    throw CredentialFailure(
                        answer.status == 404 || name.isEmpty
                            ? "the instance has no role" : "it answered \(answer.status) to the question for the role")
                }
                return name
            }
            switch name {
            case .success(let name):
                askMetadata(base, Self.rolesPath + PercentEncoding.encode(name), session) { result in
                    then(
                        result.decoded { answer throws(CredentialFailure) in
                            guard answer.status == 200 else { throw CredentialFailure("it answered \(answer.status)") }
                            return try AWSAnswers.credentials(answer.body, .instance)
                        })
                }
            case .failure(let failure): then(.failure(failure))
            }
        }
    }

    private func askMetadata(
        _ base: UpstreamURL, _ path: String, _ session: Secret,
        then: @escaping (Result<AWSRequests.Answer, CredentialFailure>) -> Void
    ) {
        guard let url = base.with(path: path, query: nil) else {
            return services.loop.deferred.complete(then, .failure(CredentialFailure("its URL is not valid")))
        }
        var request = requests.request(url, isNamed: true, isDirect: true, .metadata)
        request.headers = ["X-aws-ec2-metadata-token: \(session.revealed)"]
        requests.send(request, .metadata, then: then)
    }

    // MARK: Common

    private func deny(_ then: @escaping Fetched, _ reason: String) {
        services.loop.deferred.complete(then, .failure(CredentialFailure(reason)))
    }

    /// Reads a token's file. It is read each time, since its owner replaces it.
    private func readToken(
        _ path: String, atMost maximumBytes: Int, then: @escaping (Result<Secret, CredentialFailure>) -> Void
    ) {
        services.offload.run {
            do throws(SmallFileFailure) {
                return try SmallFile.read(path, atMost: maximumBytes)
            } catch {
                throw CredentialFailure("the token file \(path): \(error.reason)")
            }
        } then: { result in
            then(
                result.credentialResult.decoded { bytes throws(CredentialFailure) in
                    let isSpace: (UInt8) -> Bool = { $0 == 0x20 || (0x09...0x0D).contains($0) }
                    guard let first = bytes.firstIndex(where: { !isSpace($0) }),
                        let last = bytes.lastIndex(where: { !isSpace($0) })
                    else { throw CredentialFailure("the token file \(path) is empty") }
                    return Secret(String(decoding: bytes[first...last], as: UTF8.self))
                })
        }
    }
}

extension Result where Failure == CredentialFailure {
    /// `flatMap` with a function that throws.
    func decoded<Value>(
        _ decode: (Success) throws(CredentialFailure) -> Value
    ) -> Result<Value, CredentialFailure> {
        flatMap { value in
            do throws(CredentialFailure) { return .success(try decode(value)) } catch { return .failure(error) }
        }
    }
}
