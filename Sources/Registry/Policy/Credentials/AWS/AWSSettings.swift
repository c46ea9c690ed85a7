// The environment variables of the AWS SDKs (AWS SDKs and Tools Reference Guide, "Environment variables list").

internal import Configuration
internal import OCI

/// The AWS settings in the environment. An empty variable counts as absent, as in the SDKs.
package struct AWSSettings: Sendable {
    /// Nil when there is none; a failure when it is not complete.
    let keys: Result<AWSCredentials, CredentialFailure>?
    let profile: String?
    let region: String?
    /// Nil when no path is stated and there is no home directory.
    let configFile: String?
    let credentialsFile: String?
    let roleARN: String?
    let roleSessionName: String?
    let webIdentityTokenFile: String?
    let containerRelativeURI: String?
    let containerFullURI: String?
    let containerToken: Secret?
    let containerTokenFile: String?
    let metadataEndpoint: String
    let isMetadataDisabled: Bool
    let registryEndpoint: String?
    let securityTokenEndpoint: String?

    /// - Parameter environment: the value of a variable.
    package init(_ environment: (String) -> String?) {
        func value(_ names: String...) -> String? {
            for name in names {
                if let value = environment(name), !value.isEmpty { return value }
            }
            return nil
        }
        let home = value("HOME")
        func path(_ name: String, _ standard: String) -> String? {
            guard let path = value(name) else { return home.map { "\($0)/.aws/\(standard)" } }
            guard path.hasPrefix("~/"), let home else { return path }
            return home + path.dropFirst()
        }
        keys = AWSSettings.keys(
            keyID: value("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"),
            secret: value("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"), token: value("AWS_SESSION_TOKEN"))
        profile = value("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
        region = value("AWS_REGION", "AWS_DEFAULT_REGION")
        configFile = path("AWS_CONFIG_FILE", "config")
        credentialsFile = path("AWS_SHARED_CREDENTIALS_FILE", "credentials")
        roleARN = value("AWS_ROLE_ARN")
        roleSessionName = value("AWS_ROLE_SESSION_NAME")
        webIdentityTokenFile = value("AWS_WEB_IDENTITY_TOKEN_FILE")
        containerRelativeURI = value("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        containerFullURI = value("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        containerToken = value("AWS_CONTAINER_AUTHORIZATION_TOKEN").map { Secret($0) }
        containerTokenFile = value("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        let usesSix = value("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")?.asciiLowercased == "ipv6"
        metadataEndpoint =
            value("AWS_EC2_METADATA_SERVICE_ENDPOINT")
            ?? (usesSix ? "http://[fd00:ec2::254]" : "http://169.254.169.254")
        isMetadataDisabled = value("AWS_EC2_METADATA_DISABLED")?.asciiLowercased == "true"
        registryEndpoint = value("AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL")
        securityTokenEndpoint = value("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL")
    }

    /// One half of a key is an error: the next source would give the identity of somebody else.
    private static func keys(
        keyID: String?, secret: String?, token: String?
    ) -> Result<AWSCredentials, CredentialFailure>? {
        switch (keyID, secret) {
        case (nil, nil): return nil
        case (nil, _): return .failure(CredentialFailure("AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID"))
        case (_, nil): return .failure(CredentialFailure("AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY"))
        case (let keyID?, let secret?):
            guard let keys = AWSCredentials(keyID: keyID, secret: secret, sessionToken: token) else {
                return .failure(
                    CredentialFailure(
                        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_SESSION_TOKEN has characters that no key has"))
            }
            return .success(keys)
        }
    }

    /// Where a container's credentials are; nil when the environment names no place.
    var containerURL: String? {
        if let containerRelativeURI { return "http://\(AWSSettings.containerHost)\(containerRelativeURI)" }
        return containerFullURI
    }

    /// The credential service of ECS, that of EKS Pod Identity, and the latter's IPv6 address.
    private static let containerHost = "169.254.170.2"
    private static let containerHosts: Set<String> = [containerHost, "169.254.170.23", "[fd00:ec2::23]", "localhost"]

    /// Whether a container's credentials may be asked for at this URL: over TLS anywhere, else only on this machine or
    /// at the addresses of the two credential services (the SDKs' rule).
    static func admitsContainer(_ url: UpstreamURL) -> Bool {
        if url.scheme == .https || containerHosts.contains(url.host) { return true }
        return NetworkAddress(literal: url.host)?.isLoopback ?? false
    }
}
