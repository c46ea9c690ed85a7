// Credentials for an upstream: Basic credentials, and the parameters of a token request.

package import Configuration
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

/// The credentials for one upstream. They are used only to make a header or a token request.
package enum UpstreamCredentials: Sendable, Equatable {
    /// For basic authentication, or for the token exchange.
    case password(user: String, Secret)
    /// A bearer token that is sent as it is.
    case bearer(Secret)
    /// An OAuth 2 refresh token, as docker's `identitytoken` is: a token service gives an access token for it.
    case identityToken(Secret)

    package init(user: String, password: String) { self = .password(user: user, Secret(password)) }

    /// The user's name, for the keys of caches, never with the secret. Tokens have names that no user has, since a
    /// token that they got must not be taken for an anonymous one.
    package var user: String {
        switch self {
        case .password(let user, _): user
        case .bearer: "<bearer>"
        case .identityToken: "<token>"
        }
    }

    /// `Basic …` (RFC 7617); nil for tokens.
    package var basic: String? {
        guard case .password(let user, let password) = self else { return nil }
        return "Basic " + Base64.encode("\(user):\(password.revealed)")
    }
}
