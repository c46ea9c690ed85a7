// What an upstream is shown: a user's Basic credentials, or the request for a token made with them.

internal import OCI

/// What a token is asked for with.
package struct TokenRequest: Hashable, Sendable {
    package let realm: UpstreamURL
    package let service: String?
    /// Space-separated.
    package let scope: String
    package let withCredentials: Bool
}

/// Client credentials of one upstream. Only ever turned into a header.
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
