// An AWS access key, and the signature that libcurl makes with it.

internal import Configuration
internal import OCI

/// An access key with what belongs to it.
package struct AWSCredentials: Sendable, Equatable {
    package let keyID: String
    let secret: Secret
    /// Belongs to temporary keys; sent with each request.
    let sessionToken: Secret?
    /// Seconds since 1970; nil for keys that do not expire.
    package let expiresAtSeconds: Int64?

    /// Longest of the three texts accepted, in bytes. AWS states no limit for session tokens; they have 1 to 4 KiB.
    static let maximumBytes = 16 * 1024

    /// Nil when a text is empty, too long, or cannot be part of a header line.
    init?(keyID: String, secret: String, sessionToken: String?, expiresAtSeconds: Int64? = nil) {
        let texts = [keyID, secret] + (sessionToken.map { [$0] } ?? [])
        guard texts.allSatisfy(AWSCredentials.isUsable) else { return nil }
        self.keyID = keyID
        self.secret = Secret(secret)
        self.sessionToken = sessionToken.map { Secret($0) }
        self.expiresAtSeconds = expiresAtSeconds
    }

    private static func isUsable(_ text: String) -> Bool {
        (1...maximumBytes).contains(text.utf8.count) && text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    }

    /// The keys are renewed this long before they expire, as the SDKs do, so that a request does not arrive too late.
    static let marginSeconds: Int64 = 300

    /// The time until which they are used from memory: `marginSeconds` before their end, or half of their life when
    /// that is shorter. Keys without an end are read again each time, since their file may change.
    package func usableUntilSeconds(now: Int64) -> Int64 {
        guard let expiresAtSeconds, expiresAtSeconds > now else { return now }
        let life = expiresAtSeconds.subtractingSaturated(now)
        return now.addingSaturated(life.subtractingSaturated(min(AWSCredentials.marginSeconds, life / 2)))
    }
}

/// What a request is signed with (Signature Version 4). It holds the texts for libcurl's options.
package struct AWSSignature: Sendable, Equatable {
    /// For CURLOPT_AWS_SIGV4. Region and service are stated: libcurl would take them from the host's first two labels,
    /// and those of `api.ecr.REGION.amazonaws.com` are not them.
    let provider: String
    private let credentials: AWSCredentials

    init(_ credentials: AWSCredentials, region: String, service: String) {
        provider = "aws:amz:\(region):\(service)"
        self.credentials = credentials
    }

    var user: String { credentials.keyID }
    var password: String { credentials.secret.revealed }

    /// The header line that temporary keys need. libcurl (since 7.87) signs every header of the request.
    var headerLine: String? { credentials.sessionToken.map { "X-Amz-Security-Token: \($0.revealed)" } }
}
