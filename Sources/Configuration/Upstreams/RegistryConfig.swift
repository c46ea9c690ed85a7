// The settings of one upstream: an entry of `registries`, with its endpoints and credentials. An upstream without an
// entry is reached anonymously over verified HTTPS.

package import OCI

/// One upstream, or all whose hosts match a pattern.
package struct RegistryConfig: Sendable, Equatable {
    package typealias Scheme = EndpointAddress.Scheme

    /// The host in image references, or a pattern of such hosts.
    package var name: RegistryPattern
    /// Free text for people.
    package var description: String?
    /// The protocol towards the registry's own address.
    package var scheme: Scheme = .https
    /// Where requests go, in order of preference. Empty: to the registry's own address.
    package var endpoints: [EndpointConfig] = []
    /// Whether `endpoints` has been given as a list, whose items have credentials of their own.
    package var isList = false
    /// Whether requests to an endpoint on another host carry `ns=<name>`, like containerd's requests to a mirror.
    package var sendsNamespace = true
    /// For the registry's own address, or its only endpoint.
    package var auth: RegistryAuth?
    package var tls = RegistryTLS()
    /// Its own proxy, time limits and number of connections.
    package var connections = ConnectionSettings()
    /// With fewer pulls left than this, as the registry states it, only what a client needs is pulled; nil: no rule.
    package var quotaReserve: Int?

    package init(name: RegistryHost) { self.name = RegistryPattern(name) }
    package init(name: RegistryPattern) { self.name = name }
}

/// One address that a registry's requests may go to.
package struct EndpointConfig: Sendable, Equatable {
    package var address: EndpointAddress
    /// Of an item of a list.
    package var auth: RegistryAuth?
    /// Instead of the registry's.
    package var tls: RegistryTLS?
    /// Whether this endpoint's 404 is the answer, and no other endpoint is asked.
    package var is404Final = false

    package init(_ address: EndpointAddress) { self.address = address }
}

/// Credentials for one upstream.
package struct RegistryAuth: Sendable, Equatable {
    package enum Kind: Sendable, Equatable {
        /// From `password`, or from the variable that `passwordFromEnv` names.
        case password(user: String, Secret)
        /// The file is read again when it has changed.
        case passwordFile(user: String, path: String)
        /// A bearer token, sent as it is.
        case token(Secret)
        /// Amazon ECR's tokens, renewed by the server.
        case ecr(ECRSettings)
    }

    package var kind: Kind
    /// The variable of `passwordFromEnv`; nil when the password is in the file.
    package var passwordVariable: String?
    /// An additional token realm, `host[:port]` in lower case, that may receive these credentials over HTTPS (or over
    /// plain HTTP when the upstream itself uses plain HTTP).
    package var tokenRealm: String?

    package init(_ kind: Kind, tokenRealm: String? = nil) {
        self.kind = kind
        self.tokenRealm = tokenRealm
    }

    package init(user: String, password: Secret, tokenRealm: String? = nil) {
        self.init(.password(user: user, password), tokenRealm: tokenRealm)
    }
}

/// How ECR's tokens are got (`auth.token` with `provider: ecr`).
package struct ECRSettings: Sendable, Equatable {
    package var options = ECRProviderOptions()
    /// How long a token is used for when its answer does not tell: half of what ECR's are good for.
    package var expiryMilliseconds: UInt64 = 6 * 3_600_000

    package init() {}
}

/// TLS settings for one upstream. Relative paths begin at the working directory if the configuration file's path does.
package struct RegistryTLS: Sendable, Equatable {
    /// PEM certificates to trust instead of the system's.
    package var caFile: String?
    /// PEM client certificate; requires `keyFile`.
    package var certificateFile: String?
    package var keyFile: String?
    package var insecureSkipVerify = false

    package init() {}
}

/// A text that must not be printed: logs and test failures show configurations. Equal when the texts are equal;
/// `description`, `debugDescription` and reflection give `***`.
package struct Secret: Equatable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The text itself, for the code that sends it.
    package let revealed: String

    package init(_ text: String) { revealed = text }

    package var description: String { "***" }
    package var debugDescription: String { "***" }
    package var customMirror: Mirror { Mirror(self, children: []) }
}
