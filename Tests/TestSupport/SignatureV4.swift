// Checks a request's Signature Version 4 (AWS IAM User Guide, "Create a signed AWS API request"). It is written from
// the specification, independently of libcurl, which makes the signatures.

internal import Foundation
internal import OCI

/// The parts of an `Authorization: AWS4-HMAC-SHA256 …` header.
package struct SignatureV4 {
    package let keyID: String
    package let region: String
    package let service: String
    package let signedHeaders: [String]
    private let day: String
    private let signature: String

    package init?(_ request: FakeRequest) {
        let scheme = "AWS4-HMAC-SHA256 "
        guard let text = request.header("authorization"), text.hasPrefix(scheme) else { return nil }
        var parts: [String: String] = [:]
        for part in text.dropFirst(scheme.count).split(separator: ",") {
            let pair = part.split(separator: "=", maxSplits: 1)
            if pair.count == 2 { parts[pair[0].trimmingCharacters(in: .whitespaces)] = String(pair[1]) }
        }
        let scope = (parts["Credential"] ?? "").split(separator: "/").map(String.init)
        guard scope.count == 5, scope[4] == "aws4_request", let signature = parts["Signature"] else { return nil }
        (keyID, day, region, service) = (scope[0], scope[1], scope[2], scope[3])
        signedHeaders = (parts["SignedHeaders"] ?? "").split(separator: ";").map(String.init)
        self.signature = signature
    }

    /// Whether the request was signed with this secret, as received.
    package func isValid(for request: FakeRequest, secret: String) -> Bool {
        guard let date = request.header("x-amz-date"), date.hasPrefix(day) else { return false }
        let headers = signedHeaders.map { name in
            "\(name):\(request.headers(name).joined(separator: ",").split(separator: " ").joined(separator: " "))\n"
        }
        let canonical = [
            request.method, request.path, request.query ?? "", headers.joined(), signedHeaders.joined(separator: ";"),
            Self.hex(request.body),
        ].joined(separator: "\n")
        let text = [
            "AWS4-HMAC-SHA256", date, "\(day)/\(region)/\(service)/aws4_request", Self.hex(Array(canonical.utf8)),
        ].joined(separator: "\n")
        var key = Array("AWS4\(secret)".utf8)
        for part in [day, region, service, "aws4_request", text] { key = Self.hmac(key, Array(part.utf8)) }
        return key.map { String(format: "%02x", $0) }.joined() == signature
    }

    private static func hex(_ bytes: [UInt8]) -> String { bytes.withUnsafeBytes { Digest.of($0).hex } }

    private static func hash(_ bytes: [UInt8]) -> [UInt8] {
        let text = Array(hex(bytes))
        return stride(from: 0, to: text.count, by: 2).compactMap { UInt8(String(text[$0...($0 + 1)]), radix: 16) }
    }

    /// HMAC with SHA-256 (RFC 2104).
    private static func hmac(_ key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        let short = key.count > 64 ? hash(key) : key
        let padded = short + [UInt8](repeating: 0, count: 64 - short.count)
        return hash(padded.map { $0 ^ 0x5C } + hash(padded.map { $0 ^ 0x36 } + message))
    }
}
