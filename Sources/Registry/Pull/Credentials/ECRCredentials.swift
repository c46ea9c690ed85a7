// The credentials of a registry of Amazon ECR: a token for which AWS credentials are exchanged.

package import Configuration
package import OCI

/// Asks ECR for a token (GetAuthorizationToken of the Amazon ECR API Reference).
package final class ECRCredentials: CredentialProvider {
    private let registry: ECRHost
    private let expiryMilliseconds: UInt64
    /// The endpoint that the configuration or the environment names.
    private let endpoint: String?
    private let services: AWSServices
    private let requests: AWSRequests
    private let chain: AWSCredentialChain

    /// - Parameters:
    ///   - profile: the AWS profile to use in place of the environment's credentials.
    ///   - expiryMilliseconds: the life of a token whose answer states none.
    ///   - endpoint: the URL of the API, in place of the region's.
    package init(
        registry: ECRHost, profile: String? = nil, expiryMilliseconds: UInt64, endpoint: String? = nil,
        services: AWSServices
    ) {
        self.registry = registry
        self.expiryMilliseconds = expiryMilliseconds
        self.services = services
        requests = AWSRequests(services)
        chain = AWSCredentialChain(profile: profile, region: registry.region, requests: requests)
        self.endpoint = endpoint ?? chain.settings.registryEndpoint
    }

    /// The registry is that of the host's name; for another host, that of the credentials' account in the stated
    /// region. Throws when there is no region.
    package convenience init(
        host: RegistryHost, options: ECRProviderOptions, expiryMilliseconds: UInt64, endpoint: String? = nil,
        services: AWSServices
    ) throws(Refusal) {
        self.init(
            registry: try Self.registry(of: host, options), profile: options.profile,
            expiryMilliseconds: expiryMilliseconds, endpoint: endpoint, services: services)
    }

    /// The registry whose token is asked for.
    static func registry(of host: RegistryHost, _ options: ECRProviderOptions) throws(Refusal) -> ECRHost {
        let named = ECRHost(host)
        let registry = options.region.map { named?.with(region: $0) ?? ECRHost(account: nil, region: $0) } ?? named
        guard let registry else {
            throw Refusal(
                "\(host) is not the host of an ECR registry, ACCOUNT.dkr.ecr.REGION.amazonaws.com: state region=REGION")
        }
        return registry
    }

    package func provide(then: @escaping (Result<ProvidedCredentials?, CredentialFailure>) -> Void) {
        provide(isRepeated: false, then: then)
    }

    /// Ends all requests without a call to their `then`. Must be called before the loop is closed.
    package func close() {
        requests.close()
        chain.close()
    }

    /// - Parameter isRepeated: whether other AWS credentials have just been refused.
    private func provide(
        isRepeated: Bool, then: @escaping (Result<ProvidedCredentials?, CredentialFailure>) -> Void
    ) {
        chain.credentials { [self] reply in
            switch reply {
            case .success(let identity): askRegistry(identity, isRepeated: isRepeated, then: then)
            case .failure(let failure): then(.failure(failure))
            }
        }
    }

    private func askRegistry(
        _ identity: AWSCredentialChain.Identity, isRepeated: Bool,
        then: @escaping (Result<ProvidedCredentials?, CredentialFailure>) -> Void
    ) {
        guard let url = UpstreamURL(endpoint ?? registry.apiEndpoint) else {
            let failure = CredentialFailure("the endpoint of the ECR API is not a URL")
            return services.loop.deferred.complete(then, .failure(failure))
        }
        var request = requests.request(url, isNamed: endpoint != nil, .endpoint)
        request.method = .post
        request.headers = [
            "Content-Type: application/x-amz-json-1.1", "Accept: application/json",
            "X-Amz-Target: AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
        ]
        // An account is digits, so the text is valid JSON.
        request.body = Array((registry.account.map { "{\"registryIds\":[\"\($0)\"]}" } ?? "{}").utf8)
        request.awsSignature = AWSSignature(identity.credentials, region: registry.region, service: "ecr")
        requests.send(request, .endpoint) { [self] result in
            if !isRepeated, case .success(let answer) = result, answer.status != 200,
                let code = AWSAnswers.errorCode(answer.body), AWSAnswers.staleCodes.contains(code)
            {
                chain.forget()
                return provide(isRepeated: true, then: then)
            }
            then(
                result.decoded { answer throws(CredentialFailure) in try read(answer, from: url) }
                    .mapError { CredentialFailure("\($0.reason), with \(identity.source.name)") })
        }
    }

    private func read(_ answer: AWSRequests.Answer, from url: UpstreamURL) throws(CredentialFailure)
        -> ProvidedCredentials?
    {
        guard answer.status == 200 else {
            let code = AWSAnswers.errorCode(answer.body).map { " \($0)" } ?? ""
            throw CredentialFailure("ECR at \(url.host) answered \(answer.status)\(code)")
        }
        let token: AWSAnswers.RegistryToken
        do throws(CredentialFailure) { token = try AWSAnswers.registryToken(answer.body) } catch {
            throw CredentialFailure("ECR at \(url.host): \(error.reason)")
        }
        return ProvidedCredentials(
            .password(user: token.user, token.password),
            lifeMilliseconds: token.lifeMilliseconds(now: services.wallSeconds()) ?? expiryMilliseconds)
    }
}
