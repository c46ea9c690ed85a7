// Makes the credentials of endpoints, by what the configuration says of them.

internal import Configuration
internal import Logging
internal import OCI

/// What credentials need that are not in the configuration file themselves.
package struct CredentialSettings {
    package let offload: Offload
    /// Docker's or podman's file of credentials, for upstreams without any of their own.
    package var dockerConfig: String?
    /// The value of an environment variable.
    package var environment: (String) -> String?
    /// Environment variables that helper programs do not get.
    package var secretVariables: Set<String> = []

    package init(offload: Offload, environment: @escaping (String) -> String?) {
        self.offload = offload
        self.environment = environment
    }
}

/// Makes each endpoint's `CredentialSource`.
final class CredentialSources {
    private var settings: CredentialSettings
    private let loop: EventLoop
    private let logger: Logger
    private let programs: ChildPrograms
    private var dockerFile: DockerConfigFile?
    private let amazon: AWSServices
    private var amazonProviders: [ReleasedProvider] = []
    /// Called when a source has other credentials than before.
    var onChange: () -> Void = {}

    private struct ReleasedProvider { weak var provider: ECRCredentials? }

    /// - Parameters:
    ///   - complete: sets the proxy and the authorities of a request.
    ///   - start: starts a transfer, as `Transfer.init` does.
    init(
        _ settings: CredentialSettings, loop: EventLoop, logger: Logger, userAgent: String,
        complete: @escaping (inout TransferRequest) -> Void,
        start: @escaping (TransferRequest, any TransferHandler) -> Transfer
    ) {
        self.settings = settings
        self.loop = loop
        self.logger = logger
        let programs = ChildPrograms(on: loop, withheld: settings.secretVariables)
        self.programs = programs
        dockerFile = CredentialSources.dockerFile(settings, logger)
        amazon = AWSServices(
            loop: loop, offload: settings.offload, environment: settings.environment, userAgent: userAgent,
            complete: complete, wallSeconds: { EventLoop.unixSeconds },
            runProgram: { arguments, input, then in
                programs.run(arguments, input: input) { then(CredentialSources.output(of: arguments, $0)) }
            }, start: start)
    }

    /// Takes other settings, for the sources that are made from now on. Docker's file is read again.
    func update(_ settings: CredentialSettings) {
        dockerFile = CredentialSources.dockerFile(settings, logger)
        self.settings = settings
        programs.withheld = settings.secretVariables
        amazonProviders.removeAll { $0.provider == nil }
    }

    private static func dockerFile(_ settings: CredentialSettings, _ logger: Logger) -> DockerConfigFile? {
        settings.dockerConfig.map { DockerConfigFile(path: $0, offload: settings.offload, logger: logger) }
    }

    func close() {
        for released in amazonProviders { released.provider?.close() }
        amazonProviders = []
        programs.close()
    }

    /// - Parameters:
    ///   - host: the registry.
    ///   - address: the host that its requests go to. What docker's file has for it is sent nowhere else.
    func source(for auth: RegistryAuth?, host: RegistryHost, address: RegistryHost) -> CredentialSource {
        let origin = CredentialOrigin(auth, host: host, address: address, dockerConfig: settings.dockerConfig)
        switch origin {
        case .fixed(let auth): return CredentialSource(fixed: auth)
        case .passwordFile(let user, let path):
            return source(PasswordFileCredentials(user: user, path: path, offload: settings.offload), host)
        case .ecr(let host, let settings): return source(host, settings)
        case .dockerConfig(_, let host):
            guard let dockerFile else { return CredentialSource(fixed: nil) }
            return source(
                DockerConfigCredentials(host: host, file: dockerFile, programs: programs, logger: logger), host)
        case .none: return CredentialSource(fixed: nil)
        }
    }

    private func source(_ host: RegistryHost, _ settings: ECRSettings) -> CredentialSource {
        do throws(Refusal) {
            let provider = try ECRCredentials(
                host: host, options: settings.options, expiryMilliseconds: settings.expiryMilliseconds, services: amazon
            )
            amazonProviders.removeAll { $0.provider == nil }
            amazonProviders.append(ReleasedProvider(provider: provider))
            return source(provider, host)
        } catch {
            return source(NoCredentials(reason: error.reason, loop: loop), host)
        }
    }

    private func source(_ provider: any CredentialProvider, _ host: RegistryHost) -> CredentialSource {
        let source = CredentialSource(provider, label: host.text, loop: loop, logger: logger)
        source.onChange = { [weak self] in self?.onChange() }
        return source
    }

    /// What a program wrote, if it ended well.
    private static func output(
        of arguments: [String], _ result: Result<ChildOutput, ChildFailure>
    ) -> Result<[UInt8], CredentialFailure> {
        let name = arguments.first.map { $0.split(separator: "/").last.map(String.init) ?? $0 } ?? ""
        switch result {
        case .success(let output) where output.ending == .exited(status: 0): return .success(output.stdout)
        case .success(let output): return .failure(CredentialFailure("\(name) \(output.ending)"))
        case .failure(let failure): return .failure(CredentialFailure("\(name): \(failure.reason)"))
        }
    }
}

/// Credentials that cannot be had, because of what the configuration says.
private final class NoCredentials: CredentialProvider {
    private let reason: String
    private let loop: EventLoop

    init(reason: String, loop: EventLoop) {
        self.reason = reason
        self.loop = loop
    }

    func provide(then: @escaping (Result<ProvidedCredentials?, CredentialFailure>) -> Void) {
        loop.deferred.complete(then, .failure(CredentialFailure(reason)))
    }
}
