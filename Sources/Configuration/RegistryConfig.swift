// The settings of one upstream: an entry of `registries`, with its credentials. An upstream without an entry is reached
// anonymously over verified HTTPS.

package import OCI

/// One upstream.
package struct RegistryConfig: Sendable, Equatable {
    package enum Scheme: String, Sendable, CaseIterable { case https, http }

    /// The host in image references.
    package var name: RegistryHost
    /// Free text for people.
    package var description: String?
    package var scheme: Scheme = .https
    /// The address that requests for `name` go to: `scheme://host[:port]`, lower case, no trailing slash. Nil: `name`.
    package var endpoint: String?
    /// Whether requests to an endpoint on another host carry `ns=<name>`, like containerd's requests to a mirror.
    package var sendsNamespace = true
    package var auth: RegistryAuth?
    package var tls = RegistryTLS()

    package init(name: RegistryHost) { self.name = name }

    /// `scheme://host[:port]`: the endpoint, otherwise the name.
    package var origin: String { endpoint ?? "\(scheme.rawValue)://\(name.text)" }
}

/// Credentials for one upstream.
package struct RegistryAuth: Sendable, Equatable {
    package var user: String
    /// From `password`, or from the variable that `passwordFromEnv` names.
    package var password: Secret
    /// An additional token realm, `host[:port]` in lower case, that may receive these credentials over HTTPS (or over
    /// plain HTTP when the upstream itself uses plain HTTP).
    package var tokenRealm: String?

    package init(user: String, password: Secret, tokenRealm: String? = nil) {
        self.user = user
        self.password = password
        self.tokenRealm = tokenRealm
    }
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
