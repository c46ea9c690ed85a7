// The URL of an outgoing proxy. It is read here and not by curl: a wrong one stops the start with its reason, and no
// error text can quote its password.

internal import Glibc
internal import OCI

/// An outgoing proxy: `scheme://[user[:password]@]host[:port]`.
package struct ProxyURL: Sendable, Equatable, CustomStringConvertible {
    /// `socks5` looks up the destination's name here, `socks5h` leaves that to the proxy.
    package enum Scheme: String, Sendable, CaseIterable {
        case http, https, socks5, socks5h

        /// The port of a URL without one, as Go's proxies have it. (curl would take 1080 for `http` too.)
        fileprivate var defaultPort: UInt16 {
            switch self {
            case .http: 80
            case .https: 443
            case .socks5, .socks5h: 1080
            }
        }
    }

    /// A user name or password is at most this long (RFC 1929 §2, for SOCKS).
    private static let maximumLoginBytes = 255

    package let scheme: Scheme
    /// Lower case; an IPv6 address in brackets.
    package let host: String
    package let port: UInt16
    package let user: String?
    /// Empty when the URL has a user and no password.
    package let password: Secret

    /// `host:port`, for messages.
    package var name: String { "\(host):\(port)" }
    /// The URL without its user and password.
    package var description: String { "\(scheme.rawValue)://\(name)" }

    /// Reads a URL; without a scheme it is `http`, as in the environment of most programs. Errors never show the text,
    /// which may have a password.
    package init(_ text: String) throws(Refusal) {
        let parts = try ProxyURL.parts(of: text)
        scheme = parts.scheme
        (host, port) = try ProxyURL.hostAndPort(parts.address, parts.scheme)
        guard let login = parts.login else {
            user = nil
            password = Secret("")
            return
        }
        let fields = login.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let name = try ProxyURL.decoded(fields[0])
        // RFC 7617 §2: the first colon ends the user name.
        if scheme != .socks5, scheme != .socks5h, name.contains(":") {
            throw Refusal("must not have a colon (%3A) in its user name")
        }
        user = name
        password = Secret(fields.count > 1 ? try ProxyURL.decoded(fields[1]) : "")
    }

    private static func parts(
        of text: String
    ) throws(Refusal) -> (scheme: Scheme, login: Substring?, address: Substring) {
        var scheme = Scheme.http
        var rest = text[...]
        if let mark = text.firstRange(of: "://") {
            guard let known = Scheme(rawValue: text[..<mark.lowerBound].lowercased()) else {
                throw Refusal("must begin with http://, https://, socks5:// or socks5h://")
            }
            (scheme, rest) = (known, text[mark.upperBound...])
        }
        let authority = rest.prefix { !"/?#".contains($0) }
        let path = rest[authority.endIndex...]
        guard path.isEmpty || path == "/" else {
            throw Refusal("must have nothing behind its host and port (in a password, / ? # are %2F %3F %23)")
        }
        guard let at = authority.lastIndex(of: "@") else { return (scheme, nil, authority) }
        return (scheme, authority[..<at], authority[authority.index(after: at)...])
    }

    private static func hostAndPort(
        _ address: Substring, _ scheme: Scheme
    ) throws(Refusal) -> (host: String, port: UInt16) {
        let lower = address.lowercased()
        guard let valid = RegistryHost(lower) else {
            throw Refusal("must have a host[:port], as http://proxy.example:3128 does")
        }
        let host = valid.port == nil ? lower : String(lower[..<(lower.lastIndex(of: ":") ?? lower.endIndex)])
        if host.hasPrefix("["), IPAddress(host) == nil { throw Refusal("has brackets around what is no IPv6 address") }
        return (host, valid.port ?? scheme.defaultPort)
    }

    /// Decodes `%XX` as curl does (libcurl's "curl_easy_unescape"): what is no escape stays as it is, and control
    /// characters are refused.
    private static func decoded(_ text: Substring) throws(Refusal) -> String {
        let source = Array(text.utf8)
        var bytes: [UInt8] = []
        var at = 0
        while at < source.count {
            let digits = String(decoding: source[min(at + 1, source.count)..<min(at + 3, source.count)], as: UTF8.self)
            if source[at] == 0x25, digits.utf8.count == 2,
                let value = OutsideNumber.hexadecimal(digits, atMost: Int(UInt8.max))
            {
                bytes.append(UInt8(clamping: value))
                at += 3
            } else {
                bytes.append(source[at])
                at += 1
            }
        }
        guard bytes.count <= maximumLoginBytes, bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }),
            let decoded = String(validating: bytes, as: UTF8.self)
        else {
            throw Refusal("has a user or password that is too long, or not UTF-8, or holds a control character")
        }
        return decoded
    }
}

/// What `proxy` says: no proxy, or this one.
package enum ProxySetting: Sendable, Equatable {
    case direct
    case proxy(ProxyURL)

    /// `direct`, or a URL.
    package init(_ text: String) throws(Refusal) {
        self = text == "direct" ? .direct : .proxy(try ProxyURL(text))
    }
}

/// A numeric address as 4 or 16 bytes. An IPv4 address inside IPv6 (`::ffff:0:0/96`) is the IPv4 address.
struct IPAddress: Sendable, Equatable {
    let bytes: [UInt8]

    /// IPv6 with or without brackets; nil for other text.
    init?(_ text: some StringProtocol) {
        let isBracketed = text.hasPrefix("[") && text.hasSuffix("]")
        guard let bytes = IPAddress.bytes(of: isBracketed ? String(text.dropFirst().dropLast()) : String(text)) else {
            return nil
        }
        if isBracketed, bytes.count == 4 { return nil }
        self.bytes = IPAddress.isMapped(bytes) ? Array(bytes[12...]) : bytes
    }

    static func bytes(of text: String) -> [UInt8]? {
        guard !text.utf8.contains(0) else { return nil }
        var bytes = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET, text, &bytes) == 1 { return Array(bytes[..<4]) }
        return inet_pton(AF_INET6, text, &bytes) == 1 ? bytes : nil
    }

    static func isMapped(_ bytes: [UInt8]) -> Bool {
        bytes.count == 16 && bytes[..<10].allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF
    }

    var isLoopback: Bool {
        bytes.count == 4 ? bytes[0] == 127 : bytes[..<15].allSatisfy { $0 == 0 } && bytes[15] == 1
    }
}
