// Credentials for an upstream: Basic credentials, and the parameters of a token request.

internal import OCI

/// The parameters of a token request.
package struct TokenRequest: Hashable, Sendable {
    package let realm: UpstreamURL
    package let service: String?
    /// Space-separated.
    package let scope: String
    package let withCredentials: Bool
    /// Whether another origin than the upstream's wants the token: one that a redirect has led to.
    package let isForRedirect: Bool

    package init(
        realm: UpstreamURL, service: String?, scope: String, withCredentials: Bool, isForRedirect: Bool = false
    ) {
        self.realm = realm
        self.service = service
        self.scope = scope
        self.withCredentials = withCredentials
        self.isForRedirect = isForRedirect
    }
}

/// The credentials for one upstream. They are used only to make a header.
package struct UpstreamCredentials: Sendable, Equatable {
    package let user: String
    private let password: String

    package init(user: String, password: String) {
        self.user = user
        self.password = password
    }

    /// `Basic …` (RFC 7617).
    package var basic: String { "Basic " + Base64.encode("\(user):\(password)") }
}
