// The JSON answers of AWS: credentials of containers, instances and programs, tokens of ECR, and its errors.

package import Configuration
internal import FoundationEssentials
internal import OCI

/// Decodes answers. The reasons of failures hold no text of an answer but an error's code.
package enum AWSAnswers {
    /// Largest answer accepted, in bytes: a session token has a few kilobytes, and so has a registry's token.
    package static let maximumBytes = 64 * 1024

    /// The kinds of answers with credentials. Their properties differ a little.
    package enum Kind: Sendable {
        case container
        case instance
        case program
    }

    // MARK: Credentials

    package static func credentials(_ bytes: [UInt8], _ kind: Kind) throws(CredentialFailure) -> AWSCredentials {
        let body = try decode(bytes, as: CredentialBody.self)
        if kind == .program, body.version != 1 { throw CredentialFailure("its answer is not of version 1") }
        if kind == .instance, let code = body.code, code != "Success" {
            throw CredentialFailure("it answered \(word(code) ?? "an error")")
        }
        var expiry: Int64?
        if let text = body.expiration {
            guard let seconds = AWSTime.seconds(text) else {
                throw CredentialFailure("its answer states an expiration that is not a time")
            }
            expiry = seconds
        }
        let token = (kind == .program ? body.sessionToken : body.token).flatMap { $0.isEmpty ? nil : $0 }
        guard let keyID = body.accessKeyID, let secret = body.secretAccessKey,
            let credentials = AWSCredentials(
                keyID: keyID, secret: secret, sessionToken: token, expiresAtSeconds: expiry)
        else { throw CredentialFailure("its answer holds no usable access key") }
        return credentials
    }

    private struct CredentialBody: Decodable {
        let version: Int?
        let code: String?
        let accessKeyID: String?
        let secretAccessKey: String?
        let token: String?
        let sessionToken: String?
        let expiration: String?

        enum CodingKeys: String, CodingKey {
            case version = "Version"
            case code = "Code"
            case accessKeyID = "AccessKeyId"
            case secretAccessKey = "SecretAccessKey"
            case token = "Token"
            case sessionToken = "SessionToken"
            case expiration = "Expiration"
        }
    }

    // MARK: Tokens

    /// A registry's credentials, as GetAuthorizationToken gives them.
    package struct RegistryToken: Sendable, Equatable {
        package let user: String
        package let password: Secret
        /// Nil when the answer states no time, or one that no clock shows.
        package let expiresAtSeconds: Int64?

        /// The longest life used, in seconds: a token of ECR lives for 12 hours.
        static let maximumLifeSeconds: Int64 = 24 * 3600

        /// Milliseconds left; nil for an expiry that is unknown or in the past, since the token is new.
        package func lifeMilliseconds(now: Int64) -> UInt64? {
            guard let expiresAtSeconds, expiresAtSeconds > now else { return nil }
            let seconds = min(expiresAtSeconds.subtractingSaturated(now), RegistryToken.maximumLifeSeconds)
            return UInt64(clamping: seconds) * 1000
        }
    }

    package static func registryToken(_ bytes: [UInt8]) throws(CredentialFailure) -> RegistryToken {
        let body = try decode(bytes, as: TokenBody.self)
        guard let first = body.authorizationData?.first, let encoded = first.authorizationToken,
            let decoded = Data(base64Encoded: encoded)
        else { throw CredentialFailure("its answer holds no authorization token") }
        let parts = decoded.split(separator: 0x3A, maxSplits: 1, omittingEmptySubsequences: false)
        // They become part of a header after further encoding; white space and control characters are no password's.
        guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty && $0.allSatisfy { (0x21...0x7E).contains($0) } }) else {
            throw CredentialFailure("its authorization token is not a user and a password")
        }
        return RegistryToken(
            user: String(decoding: parts[0], as: UTF8.self),
            password: Secret(String(decoding: parts[1], as: UTF8.self)),
            expiresAtSeconds: first.expiresAt?.seconds)
    }

    private struct TokenBody: Decodable {
        let authorizationData: [Item]?

        struct Item: Decodable {
            let authorizationToken: String?
            let expiresAt: Seconds?
        }
    }

    /// Seconds since 1970, as a number with or without a fraction. Anything else counts as absent.
    private struct Seconds: Decodable {
        let seconds: Int64?

        init(from decoder: any Decoder) throws {
            let number = try? decoder.singleValueContainer().decode(Double.self)
            let seconds = number.flatMap { $0.isFinite ? Int64(Int(saturating: $0)) : nil }
            self.seconds = seconds.flatMap { OutsideNumber.seconds.contains($0) ? $0 : nil }
        }
    }

    // MARK: Errors

    /// The code of an error, such as `AccessDeniedException`; nil when there is none. The message is not read: that of
    /// an invalid signature quotes the request's headers, and so the session token.
    package static func errorCode(_ bytes: [UInt8]) -> String? {
        guard let body = try? decode(bytes, as: ErrorBody.self), let type = body.type ?? body.code else { return nil }
        return word(String(type.split(separator: "#").last ?? ""))
    }

    private struct ErrorBody: Decodable {
        let type: String?
        let code: String?

        enum CodingKeys: String, CodingKey {
            case type = "__type"
            case code
        }
    }

    /// Codes that say that an access key is not valid, or no longer.
    package static let staleCodes: Set<String> = [
        "UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException", "ExpiredToken",
    ]

    /// Longest code shown, in bytes.
    private static let maximumCodeBytes = 64

    /// A text for messages; nil unless it is one word of letters and digits.
    static func word(_ text: String) -> String? {
        let isWord = text.utf8.allSatisfy { ASCII.isLetter($0) || ASCII.isDigit($0) }
        return isWord && (1...maximumCodeBytes).contains(text.utf8.count) ? text : nil
    }

    private static func decode<Body: Decodable>(
        _ bytes: [UInt8], as type: Body.Type
    ) throws(CredentialFailure) -> Body {
        guard bytes.count <= maximumBytes else { throw CredentialFailure("its answer is too long") }
        guard let body = try? JSONDecoder().decode(type, from: Data(bytes)) else {
            throw CredentialFailure("its answer is not the JSON that it should be")
        }
        return body
    }
}
