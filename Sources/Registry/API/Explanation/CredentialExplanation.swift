// Where an endpoint's credentials come from and may be sent, in words and without the credentials.

internal import Configuration
internal import OCI

/// The source of an endpoint's credentials, as text.
struct CredentialExplanation: Sendable {
    typealias Line = ImageExplanation.Line

    /// Whether the endpoint is asked anonymously.
    let isNone: Bool
    private let source: String
    /// Where they may be sent; nil without credentials.
    private let destination: String?

    var lines: [Line] {
        [Line("credentials", source)] + (destination.map { [Line("credentials-sent-to", $0)] } ?? [])
    }

    init(
        _ origin: CredentialOrigin, place: EndpointPlace, trust: UpstreamTrust,
        docker: Result<DockerConfig, CredentialFailure>?
    ) {
        let (source, use) = CredentialExplanation.source(origin, place, docker)
        self.source = source
        isNone = use == .none
        let own = "\(trust.base.scheme.rawValue)://\(trust.base.host):\(trust.base.port)"
        switch use {
        case .none: destination = nil
        case .header: destination = "\(own) only"
        case .exchange:
            let realms = CredentialPolicy.realms(of: trust).joined(separator: ", ")
            let scheme = trust.base.scheme == .https ? "https" : "https or http"
            destination = "\(own), and token services over \(scheme) at: \(realms.isEmpty ? "none" : realms)"
        }
    }

    /// How credentials are used: as a header of the registry's requests, or to get tokens too.
    private enum Use { case none, header, exchange }

    private static func source(
        _ origin: CredentialOrigin, _ place: EndpointPlace, _ docker: Result<DockerConfig, CredentialFailure>?
    ) -> (String, Use) {
        switch origin {
        case .none: return ("none", .none)
        case .fixed(let auth): return fixed(auth, place)
        case .passwordFile(let user, let path):
            return ("user \(user) from passwordFile \(path) (\(place.auth))", .exchange)
        case .ecr(let host, let settings): return (ecr(host, settings, place), .exchange)
        case .dockerConfig(let path, let host):
            let (text, use) = self.docker(docker, host)
            return ("dockerConfig \(path): \(text)", use)
        }
    }

    private static func fixed(_ auth: RegistryAuth, _ place: EndpointPlace) -> (String, Use) {
        switch auth.kind {
        case .password(let user, _):
            let key = auth.passwordVariable.map { "passwordFromEnv \($0)" } ?? "auth.password"
            return ("user \(user) from \(key) (\(place.auth))", .exchange)
        case .token: return ("a fixed token (\(place.auth))", .header)
        case .passwordFile, .ecr: return ("none", .none)
        }
    }

    private static func ecr(_ host: RegistryHost, _ settings: ECRSettings, _ place: EndpointPlace) -> String {
        let profile = settings.options.profile.map { "profile \($0)" } ?? "the default AWS credentials"
        do throws(Refusal) {
            let region = try ECRCredentials.registry(of: host, settings.options).region
            return "ECR, \(profile), region \(region) (\(place.auth))"
        } catch {
            return "ECR, \(profile), not available: \(error.reason) (\(place.auth))"
        }
    }

    private static func docker(
        _ docker: Result<DockerConfig, CredentialFailure>?, _ host: RegistryHost
    ) -> (String, Use) {
        do throws(CredentialFailure) {
            switch try docker?.get().lookup(host) {
            case nil: return ("nothing there for \(host)", .none)
            case .credentials(.password(let user, _))?: return ("entry \(host), user \(user)", .exchange)
            case .credentials(.identityToken)?: return ("entry \(host), an identity token", .exchange)
            case .credentials(.bearer)?: return ("entry \(host), a registry token", .header)
            case .helper(let name, let serverURL)?:
                return ("helper docker-credential-\(name) would be asked for \(serverURL)", .exchange)
            }
        } catch {
            return ("not usable: \(error.reason)", .none)
        }
    }
}
