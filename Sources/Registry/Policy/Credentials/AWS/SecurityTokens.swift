// The Security Token Service: the bodies of its requests, and its answers (AWS Security Token Service API Reference,
// version 2011-06-15).

internal import Configuration
internal import OCI

/// Requests and answers for temporary credentials.
package enum SecurityTokens {
    /// Longest web identity token accepted, in bytes (the limit of WebIdentityToken in the API reference).
    package static let maximumTokenBytes = 20_000

    /// The body of AssumeRole; with a token, that of AssumeRoleWithWebIdentity.
    static func body(_ role: AWSRole, webIdentityToken: Secret? = nil) -> [UInt8] {
        var fields = [
            ("Action", webIdentityToken == nil ? "AssumeRole" : "AssumeRoleWithWebIdentity"), ("Version", "2011-06-15"),
            ("RoleArn", role.arn), ("RoleSessionName", role.sessionName),
        ]
        if let webIdentityToken {
            fields.append(("WebIdentityToken", webIdentityToken.revealed))
        } else if let externalID = role.externalID {
            fields.append(("ExternalId", externalID))
        }
        if let seconds = role.durationSeconds { fields.append(("DurationSeconds", "\(seconds)")) }
        return Array(fields.map { "\($0.0)=\(PercentEncoding.encode($0.1))" }.joined(separator: "&").utf8)
    }

    /// The credentials in an answer.
    ///
    /// There is no XML library here: the only thing wanted are four elements whose texts AWS limits to letters, digits
    /// and a few signs. An answer with references, sections or a second such element is refused, not interpreted.
    package static func credentials(_ bytes: [UInt8]) throws(CredentialFailure) -> AWSCredentials {
        guard bytes.count <= AWSAnswers.maximumBytes else { throw CredentialFailure("its answer is too long") }
        guard let part = element("Credentials", in: bytes[...]), let keyID = text("AccessKeyId", in: part),
            let secret = text("SecretAccessKey", in: part), let token = text("SessionToken", in: part),
            let expiry = text("Expiration", in: part).flatMap(AWSTime.seconds),
            let credentials = AWSCredentials(
                keyID: keyID, secret: secret, sessionToken: token, expiresAtSeconds: expiry)
        else { throw CredentialFailure("its answer holds no usable credentials") }
        return credentials
    }

    /// The code of an error, such as `AccessDenied`; nil when there is none.
    package static func errorCode(_ bytes: [UInt8]) -> String? {
        guard bytes.count <= AWSAnswers.maximumBytes, let part = element("Error", in: bytes[...]) else { return nil }
        return text("Code", in: part).flatMap(AWSAnswers.word)
    }

    private static func text(_ name: String, in bytes: ArraySlice<UInt8>) -> String? {
        guard let content = element(name, in: bytes), !content.contains(0x3C), !content.contains(0x26) else {
            return nil
        }
        return String(decoding: content, as: UTF8.self)
    }

    /// The content of the element with this name; nil unless there is exactly one.
    private static func element(_ name: String, in bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        let (opening, closing) = (Array("<\(name)>".utf8), Array("</\(name)>".utf8))
        let starts = places(opening, in: bytes)
        let ends = places(closing, in: bytes)
        guard starts.count == 1, ends.count == 1, let start = starts.first, let end = ends.first,
            start + opening.count <= end
        else { return nil }
        return bytes[(start + opening.count)..<end]
    }

    /// Where `tag` begins.
    private static func places(_ tag: [UInt8], in bytes: ArraySlice<UInt8>) -> [Int] {
        guard bytes.count >= tag.count else { return [] }
        return (bytes.startIndex...(bytes.endIndex - tag.count)).filter {
            bytes[$0] == 0x3C && bytes[$0..<($0 + tag.count)].elementsEqual(tag)
        }
    }
}
