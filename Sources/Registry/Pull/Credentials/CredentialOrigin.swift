// Where an endpoint's credentials come from, as the configuration decides it, before anything is read or asked.

internal import Configuration
internal import OCI

/// The source of an endpoint's credentials.
enum CredentialOrigin: Sendable, Equatable {
    /// In the configuration, or in a variable that it names.
    case fixed(RegistryAuth)
    case passwordFile(user: String, path: String)
    /// The token of the registry that `host` names.
    case ecr(RegistryHost, ECRSettings)
    /// What docker's file has for `host`; it is sent nowhere else.
    case dockerConfig(path: String, host: RegistryHost)
    case none

    /// - Parameters:
    ///   - host: the registry.
    ///   - address: the host that its requests go to.
    ///   - dockerConfig: the path of docker's file.
    init(_ auth: RegistryAuth?, host: RegistryHost, address: RegistryHost, dockerConfig: String?) {
        switch auth?.kind {
        case .password?, .token?: self = auth.map { .fixed($0) } ?? .none
        case .passwordFile(let user, let path)?: self = .passwordFile(user: user, path: path)
        case .ecr(let settings)?: self = .ecr(ECRHost(host) == nil ? address : host, settings)
        case nil: self = dockerConfig.map { .dockerConfig(path: $0, host: address) } ?? .none
        }
    }
}
