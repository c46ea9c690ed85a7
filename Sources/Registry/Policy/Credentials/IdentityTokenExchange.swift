// The exchange of an identity token (an OAuth 2 refresh token) for an access token. Pure.
//
// Sources: distribution docs/spec/auth/oauth.md; RFC 6749 §5.2 and §6.

package import Configuration
internal import FoundationEssentials

package enum IdentityTokenExchange {
    static let contentTypeHeader = "Content-Type: application/x-www-form-urlencoded"

    /// The form of the request's body. The scope may be several, separated by spaces.
    package static func form(_ token: Secret, service: String?, scope: String) -> [UInt8] {
        var fields = [("grant_type", "refresh_token")]
        if let service { fields.append(("service", service)) }
        if !scope.isEmpty { fields.append(("scope", scope)) }
        fields += [("client_id", "ociregistry"), ("refresh_token", token.revealed)]
        return Array(fields.map { "\($0.0)=\(PercentEncoding.encode($0.1))" }.joined(separator: "&").utf8)
    }

    /// Whether a redirect of the exchange is followed. With 301, 302 and 303 clients send a GET without the form (RFC
    /// 9110 §15.4), which would ask for an anonymous token. Another origin must never get the identity token: it stays
    /// valid until the user logs in again.
    package static func follows(status: Int, from: UpstreamURL, to target: UpstreamURL) -> Bool {
        (status == 307 || status == 308) && from.origin == target.origin
    }

    /// Whether the body of a 400 says that the identity token is not valid any more (RFC 6749 §5.2). Other errors may
    /// be about the scope.
    package static func isTokenRefused(_ body: [UInt8]) -> Bool {
        guard let failure = try? JSONDecoder().decode(Failure.self, from: Data(body)) else { return false }
        return failure.error == "invalid_grant"
    }

    private struct Failure: Decodable { let error: String }
}
