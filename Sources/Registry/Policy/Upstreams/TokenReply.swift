// The response of a token service.

internal import FoundationEssentials
internal import OCI

/// A token and its lifetime (distribution's token specification, "Token Response Fields").
package struct TokenReply: Equatable, Sendable {
    package let token: String
    /// At least `minimumSeconds`.
    package let expiresInSeconds: Int

    /// Largest reply accepted, in bytes: the largest tokens in use (Azure's, with claims) have a few kilobytes.
    package static let maximumBytes = 64 * 1024
    /// The specification's default, and the least that a service may give ("for compatibility … at least 60 seconds").
    static let minimumSeconds = 60
    /// A longer lifetime is shortened to this: a revoked token should not be sent for days.
    static let maximumSeconds = 24 * 3600

    package init(token: String, expiresInSeconds: Int) {
        self.token = token
        self.expiresInSeconds = min(max(expiresInSeconds, TokenReply.minimumSeconds), TokenReply.maximumSeconds)
    }

    /// The reason why a reply cannot be used, as text for logs and errors, without any text of the reply.
    package struct InvalidTokenResponse: Error, Equatable {
        package let reason: String
    }

    /// Reads `token`, or `access_token`, which some services use instead.
    package static func decode(_ bytes: [UInt8]) throws(InvalidTokenResponse) -> TokenReply {
        guard bytes.count <= maximumBytes else { throw InvalidTokenResponse(reason: "its answer is too long") }
        guard let body = try? JSONDecoder().decode(Body.self, from: Data(bytes)) else {
            throw InvalidTokenResponse(reason: "its answer is not a token")
        }
        guard let token = [body.token, body.accessToken].compactMap({ $0 }).first(where: { !$0.isEmpty }) else {
            throw InvalidTokenResponse(reason: "its answer holds no token")
        }
        // It becomes part of a header line, so only visible ASCII is accepted (RFC 6750 §2.1 allows even less).
        guard token.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw InvalidTokenResponse(reason: "its token holds characters that no header can carry")
        }
        return TokenReply(token: token, expiresInSeconds: body.seconds)
    }

    private struct Body: Decodable {
        let token: String?
        let accessToken: String?
        let expiresIn: Number?

        enum CodingKeys: String, CodingKey {
            case token
            case accessToken = "access_token"
            case expiresIn = "expires_in"
        }

        var seconds: Int { expiresIn?.seconds ?? TokenReply.minimumSeconds }
    }

    /// Seconds as a number or, from some services, as a string. Anything else counts as absent.
    private struct Number: Decodable {
        let seconds: Int?

        init(from decoder: any Decoder) throws {
            let value = try decoder.singleValueContainer()
            let number = (try? value.decode(Double.self)) ?? (try? value.decode(String.self)).flatMap { Double($0) }
            // `TokenReply.init` moves values outside the range into it.
            seconds = number.flatMap { $0.isFinite ? Int(saturating: $0) : nil }
        }
    }
}
