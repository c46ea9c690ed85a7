// How one upstream is reached: the entries of `registries`. An upstream without an entry is reached anonymously over
// verified HTTPS.

package import OCI

/// One upstream.
package struct RegistryConfig: Sendable, Equatable {
    package enum Scheme: String, Sendable, CaseIterable { case https, http }

    /// As it stands in image references.
    package var name: RegistryHost
    /// Free text, for people.
    package var description: String?
    package var scheme: Scheme = .https
    /// Where requests for `name` really go: `scheme://host[:port]`, lower case, no trailing slash. Nil: `name` itself.
    package var endpoint: String?
    /// Whether requests to an endpoint that is not the registry's own host carry `ns=<name>`, as containerd's requests
    /// to a mirror do.
    package var sendsNamespace = true
    package var auth: RegistryAuth?
    package var tls = RegistryTLS()

    package init(name: RegistryHost) { self.name = name }

    /// `scheme://host[:port]`: the endpoint, or else the name.
    package var origin: String { endpoint ?? "\(scheme.rawValue)://\(name.text)" }
}

/// Credentials for one upstream.
package struct RegistryAuth: Sendable, Equatable {
    package var user: String
    /// From `password`, or from the variable that `passwordFromEnv` names.
    package var password: Secret
    /// A further token realm, `host[:port]` in lower case, that these credentials may be sent to over HTTPS (or
    /// over plain HTTP where the upstream itself is plain HTTP).
    package var tokenRealm: String?

    package init(user: String, password: Secret, tokenRealm: String? = nil) {
        self.user = user
        self.password = password
        self.tokenRealm = tokenRealm
    }
}

/// TLS towards one upstream. Paths are absolute, or relative to the working directory if the configuration file's is.
package struct RegistryTLS: Sendable, Equatable {
    /// PEM certificates to trust instead of the system's.
    package var caFile: String?
    /// PEM client certificate, never without `keyFile`.
    package var certificateFile: String?
    package var keyFile: String?
    package var insecureSkipVerify = false

    package init() {}
}
