// The AWS credentials of one provider: chosen as the SDKs choose, and cached until shortly before they expire.

internal import Configuration
internal import OCI

/// Gets AWS credentials. Calls that come while they are being fetched share the result.
final class AWSCredentialChain {
    struct Identity {
        let credentials: AWSCredentials
        /// For messages.
        let source: AWSSource
    }

    typealias Reply = Result<Identity, CredentialFailure>

    let requests: AWSRequests
    let settings: AWSSettings
    /// The region of the registry, for the Security Token Service where nothing else states one.
    let region: String
    private let profile: String?
    private var cached: (identity: Identity, untilSeconds: Int64)?
    private var waiting: [(Reply) -> Void] = []

    var services: AWSServices { requests.services }

    /// - Parameter profile: the profile that the configuration names. The environment's keys are not used then.
    init(profile: String?, region: String, requests: AWSRequests) {
        self.profile = profile
        self.region = region
        self.requests = requests
        settings = AWSSettings(requests.services.environment)
    }

    /// `then` is called once, from a deferred action, a timer or a completion, unless the provider is closed first.
    func credentials(then: @escaping (Reply) -> Void) {
        if let cached, services.wallSeconds() < cached.untilSeconds {
            return services.loop.deferred.complete(then, .success(cached.identity))
        }
        waiting.append(then)
        guard waiting.count == 1 else { return }
        services.loop.deferred.enqueue { [self] in choose() }
    }

    /// Forgets the credentials, since a service does not accept them any more.
    func forget() { cached = nil }

    func close() { waiting.removeAll() }

    private func end(_ reply: Reply) {
        let waiting = self.waiting
        self.waiting = []
        if case .success(let identity) = reply {
            let now = services.wallSeconds()
            cached = (identity, identity.credentials.usableUntilSeconds(now: now))
        }
        services.loop.deferred.forEach(waiting) { $0(reply) }
    }

    // MARK: The choice

    private func choose() {
        do throws(CredentialFailure) {
            if profile == nil, let source = try AWSSourceChoice.environment(settings) { return use(source) }
            readProfiles()
        } catch {
            end(.failure(error))
        }
    }

    private func readProfiles() {
        let (config, credentials) = (settings.configFile, settings.credentialsFile)
        services.offload.run {
            try AWSProfiles(
                config: Self.contents(config, "config"), credentials: Self.contents(credentials, "credentials"))
        } then: { [self] result in
            do throws(CredentialFailure) {
                let profiles = try result.credentialResult.get()
                use(try AWSSourceChoice(settings: settings, profiles: profiles).profile(profile))
            } catch {
                end(.failure(error))
            }
        }
    }

    /// Nil when there is no such file.
    private static func contents(_ path: String?, _ name: String) throws(CredentialFailure) -> [UInt8]? {
        guard let path else { return nil }
        do throws(SmallFileFailure) {
            return try SmallFile.read(path, atMost: AWSProfiles.maximumBytes)
        } catch {
            if error.isMissing { return nil }
            throw CredentialFailure("the AWS \(name) file \(path): \(error.reason)")
        }
    }

    private func use(_ source: AWSSource) {
        fetch(source) { [self] result in
            end(result.map { Identity(credentials: $0, source: source) })
        }
    }
}

extension Result where Failure == any Error {
    /// The result of a pool job that throws only `CredentialFailure`.
    var credentialResult: Result<Success, CredentialFailure> {
        mapError { $0 as? CredentialFailure ?? CredentialFailure("the file cannot be read") }
    }
}
