// Where AWS credentials come from, in the order of the SDKs: environment, web identity, profiles, container, instance.

internal import OCI

/// A role to assume.
package struct AWSRole: Sendable, Equatable {
    let arn: String
    /// The name that CloudTrail shows for the session.
    let sessionName: String
    var externalID: String?
    var durationSeconds: Int?
    /// The region of the profile, for the endpoint of the Security Token Service.
    var region: String?

    static let sessionName = "ociregistry"

    init(arn: String, sessionName: String?) {
        self.arn = arn
        self.sessionName = sessionName ?? AWSRole.sessionName
    }
}

/// A source of AWS credentials.
package indirect enum AWSSource: Sendable, Equatable {
    /// `origin` names the place for messages.
    case keys(AWSCredentials, origin: String)
    case program([String], profile: String)
    case webIdentity(AWSRole, tokenFile: String)
    case container
    case instance
    /// A role that the credentials of another source may assume.
    case role(AWSRole, base: AWSSource)

    /// The source's name in messages.
    package var name: String {
        switch self {
        case .keys(_, let origin): origin
        case .program(_, let profile): "the credential_process of AWS profile \(profile)"
        case .webIdentity(let role, _): "the web identity token for \(role.arn)"
        case .container: "the container's credential service"
        case .instance: "the instance metadata service"
        case .role(let role, let base): "\(role.arn), assumed with \(base.name)"
        }
    }
}

/// Chooses the source. As in the SDKs, the first one that is configured counts, and its failure is final: the next
/// source would give another identity.
package struct AWSSourceChoice {
    private let settings: AWSSettings
    private let profiles: AWSProfiles

    package init(settings: AWSSettings, profiles: AWSProfiles) {
        self.settings = settings
        self.profiles = profiles
    }

    /// Longest chain of `source_profile`.
    static let maximumProfiles = 16

    /// The source in the environment variables alone; nil when profiles must be read.
    package static func environment(_ settings: AWSSettings) throws(CredentialFailure) -> AWSSource? {
        if let keys = settings.keys { return .keys(try keys.get(), origin: "the access key of the environment") }
        guard let file = settings.webIdentityTokenFile else { return nil }
        guard let arn = settings.roleARN else {
            throw CredentialFailure("AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN")
        }
        return .webIdentity(AWSRole(arn: arn, sessionName: settings.roleSessionName), tokenFile: file)
    }

    /// The source in a profile, or, for a profile without credentials, the container or the instance.
    /// - Parameter name: the profile that the configuration names; nil for that of the environment.
    package func profile(_ name: String?) throws(CredentialFailure) -> AWSSource {
        let stated = name ?? settings.profile
        guard let properties = profiles[stated ?? "default"] else {
            if let stated { throw AWSSourceChoice.missing(stated) }
            return try surroundings()
        }
        if let source = try source(stated ?? "default", properties, []) { return source }
        return try surroundings()
    }

    private static func missing(_ profile: String) -> CredentialFailure {
        CredentialFailure("AWS profile \(profile) is in neither the config nor the credentials file")
    }

    private func surroundings() throws(CredentialFailure) -> AWSSource {
        if settings.containerURL != nil { return .container }
        guard !settings.isMetadataDisabled else {
            throw CredentialFailure(
                "no AWS credentials: the environment and the profiles have none, and AWS_EC2_METADATA_DISABLED is set")
        }
        return .instance
    }

    /// - Parameter users: the profiles whose `source_profile` led here.
    private func source(
        _ name: String, _ properties: AWSProfiles.Properties, _ users: [String]
    ) throws(CredentialFailure) -> AWSSource? {
        func value(_ key: String) -> String? { properties[key].flatMap { $0.isEmpty ? nil : $0 } }
        // A profile may name itself as the source: then its own key assumes its role.
        if let arn = value("role_arn"), users.last != name {
            return try role(arn, name, properties, users)
        }
        if let keys = try keys(name, properties) { return keys }
        if let command = value("credential_process") {
            guard let words = AWSProfiles.words(command) else {
                throw CredentialFailure("credential_process of AWS profile \(name) is not a command")
            }
            return .program(words, profile: name)
        }
        if properties.keys.contains(where: { $0.hasPrefix("sso_") }) {
            throw CredentialFailure(
                "AWS profile \(name) uses IAM Identity Center, which needs a person: set credential_process to "
                    + "`aws configure export-credentials --format process`, or use another profile")
        }
        return nil
    }

    private func keys(
        _ name: String, _ properties: AWSProfiles.Properties
    ) throws(CredentialFailure) -> AWSSource? {
        let (keyID, secret) = (properties["aws_access_key_id"] ?? "", properties["aws_secret_access_key"] ?? "")
        if keyID.isEmpty, secret.isEmpty { return nil }
        let token = properties["aws_session_token"].flatMap { $0.isEmpty ? nil : $0 }
        guard let keys = AWSCredentials(keyID: keyID, secret: secret, sessionToken: token) else {
            throw CredentialFailure("the access key of AWS profile \(name) is not complete, or has invalid characters")
        }
        return .keys(keys, origin: "the access key of AWS profile \(name)")
    }

    private func role(
        _ arn: String, _ name: String, _ properties: AWSProfiles.Properties, _ users: [String]
    ) throws(CredentialFailure) -> AWSSource {
        func value(_ key: String) -> String? { properties[key].flatMap { $0.isEmpty ? nil : $0 } }
        var role = AWSRole(arn: arn, sessionName: value("role_session_name"))
        role.region = value("region")
        role.externalID = value("external_id")
        if let text = value("duration_seconds") {
            // The range of AssumeRole's DurationSeconds (AWS Security Token Service API Reference).
            guard let seconds = OutsideNumber.decimal(text, in: 900...43_200) else {
                throw CredentialFailure("duration_seconds of AWS profile \(name) is not a number from 900 to 43200")
            }
            role.durationSeconds = seconds
        }
        guard value("mfa_serial") == nil else {
            throw CredentialFailure("AWS profile \(name) has mfa_serial, which needs a person: use another profile")
        }
        switch (value("web_identity_token_file"), value("source_profile"), value("credential_source")) {
        case (let file?, nil, nil): return .webIdentity(role, tokenFile: file)
        case (nil, let source?, nil): return .role(role, base: try base(source, users + [name]))
        case (nil, nil, let source?): return .role(role, base: try base(ofKind: source, name))
        default:
            throw CredentialFailure(
                "AWS profile \(name) has role_arn, and needs one of source_profile, credential_source and "
                    + "web_identity_token_file")
        }
    }

    private func base(_ name: String, _ users: [String]) throws(CredentialFailure) -> AWSSource {
        guard users.count < AWSSourceChoice.maximumProfiles, users.dropLast().contains(name) == false else {
            throw CredentialFailure("source_profile of AWS profile \(users.last ?? name) leads back to a profile")
        }
        guard let properties = profiles[name] else { throw AWSSourceChoice.missing(name) }
        guard let source = try source(name, properties, users) else {
            throw CredentialFailure("AWS profile \(name), a source_profile, has no credentials")
        }
        return source
    }

    private func base(ofKind kind: String, _ name: String) throws(CredentialFailure) -> AWSSource {
        switch kind {
        case "Environment":
            guard let keys = settings.keys else {
                throw CredentialFailure("credential_source of AWS profile \(name): the environment has no access key")
            }
            return .keys(try keys.get(), origin: "the access key of the environment")
        case "EcsContainer":
            guard settings.containerURL != nil else {
                throw CredentialFailure(
                    "credential_source of AWS profile \(name): AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set")
            }
            return .container
        case "Ec2InstanceMetadata": return .instance
        default:
            throw CredentialFailure(
                "credential_source of AWS profile \(name) is none of Environment, Ec2InstanceMetadata and EcsContainer")
        }
    }
}
