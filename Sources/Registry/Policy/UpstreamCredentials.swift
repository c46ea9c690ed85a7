// What an upstream is shown: a user's Basic credentials, or the request for a token made with them.

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

/// RFC 4648 §4, for the Basic scheme.
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func encode(_ text: String) -> String {
        let bytes = Array(text.utf8)
        var result: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let bits = group.enumerated().reduce(UInt32(0)) {
                $0 | UInt32(truncatingIfNeeded: $1.element) << (16 - 8 * $1.offset)
            }
            for place in 0..<4 {
                let isPadding = place > group.count
                result.append(isPadding ? 0x3D : alphabet[Int(bits >> (18 - 6 * place)) & 63])
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
