// The rules for single values, the same for the configuration file and the command line. Pure, from text to value.

import Glibc
package import OCI

package enum ConfigRules {
    /// One day: no upstream pauses longer; a larger value has the wrong unit.
    package static let maximumTimeoutMilliseconds = 86_400_000
    /// Linux's PATH_MAX (4096) without the closing zero.
    static let maximumPathBytes = 4095

    package static func logLevel(_ text: String) throws(Refusal) -> LogLevel {
        guard let level = LogLevel(rawValue: text) else {
            throw Refusal("must be debug, info, warn or error, not \(shown(text))")
        }
        return level
    }

    package static func logFormat(_ text: String) throws(Refusal) -> LogFormat {
        guard let format = LogFormat(rawValue: text) else {
            throw Refusal("must be text or json, not \(shown(text))")
        }
        return format
    }

    package static func flag(_ text: String) throws(Refusal) -> Bool {
        switch text {
        case "true", "True", "TRUE": return true
        case "false", "False", "FALSE": return false
        default: throw Refusal("must be true or false, not \(shown(text))")
        }
    }

    package static func privateUpstreams(_ text: String) throws(Refusal) -> PrivateUpstreams {
        guard let value = PrivateUpstreams(rawValue: text) else {
            throw Refusal("must be allow or deny, not \(shown(text))")
        }
        return value
    }

    /// `manifest`, `layer` or `never`; a switch's `true` is `layer`, and `false` is `never`.
    package static func prefetchLayers(_ text: String) throws(Refusal) -> PrefetchLayers {
        if let value = PrefetchLayers(rawValue: text) { return value }
        guard let isOn = try? flag(text) else {
            throw Refusal("must be manifest, layer or never (or true for layer, false for never), not \(shown(text))")
        }
        return isOn ? .layer : .never
    }

    /// A port; 0 means any free port.
    package static func port(_ text: String) throws(Refusal) -> UInt16 {
        guard let port = OutsideNumber.decimal(text, in: 0...UInt16.max) else {
            throw Refusal("must be a port from 1 to 65535, or 0 for any free one, not \(shown(text))")
        }
        return port
    }

    /// The port of a listener that is off by default. In a file 0 means off, as in the reference.
    static func optionalPort(_ text: String) throws(Refusal) -> UInt16? {
        let port = try port(text)
        return port == 0 ? nil : port
    }

    package static func timeoutMilliseconds(_ text: String) throws(Refusal) -> Int {
        guard let number = OutsideNumber.decimal(text, in: 1...maximumTimeoutMilliseconds) else {
            throw Refusal("must be milliseconds from 1 to \(maximumTimeoutMilliseconds), not \(shown(text))")
        }
        return number
    }

    /// An address to listen on. Host names are not resolved, since they may have several addresses; `localhost` is
    /// 127.0.0.1.
    package static func listenAddress(_ text: String) throws(Refusal) -> String {
        if text == "localhost" { return "127.0.0.1" }
        let isBracketed = text.hasPrefix("[") && text.hasSuffix("]")
        let address = isBracketed ? String(text.dropFirst().dropLast()) : text
        var storage = in6_addr()
        let isValid =
            inet_pton(AF_INET6, address, &storage) == 1 || (!isBracketed && inet_pton(AF_INET, address, &storage) == 1)
        guard isValid, !address.utf8.contains(0) else {
            throw Refusal("must be an IPv4 or IPv6 address or localhost, not \(shown(text))")
        }
        return address
    }

    /// `address:port`, with an IPv6 address in brackets; a port alone is on 127.0.0.1.
    package static func listenPoint(_ text: String) throws(Refusal) -> ListenPoint {
        guard let colon = text.utf8.lastIndex(of: 0x3A) else {
            return ListenPoint(host: "127.0.0.1", port: try port(text))
        }
        let host = String(text[..<colon])
        guard host.hasPrefix("[") || !host.contains(":") else {
            throw Refusal("must be address:port, an IPv6 address in brackets, not \(shown(text))")
        }
        return ListenPoint(
            host: try listenAddress(host), port: try port(String(text[text.utf8.index(after: colon)...])))
    }

    /// A token that is valid in an HTTP field. Errors do not show it.
    static func token(_ text: String) throws(Refusal) -> Secret {
        guard !text.isEmpty, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw Refusal("must be visible ASCII without spaces")
        }
        return Secret(text)
    }

    /// Error text for `adminOnServingPort` without a token.
    package static let servingPortNeedsToken =
        "needs adminToken or adminTokenFromEnv, since a proxy in front of the port makes every client look local"

    package static func registryHost(_ text: String) throws(Refusal) -> RegistryHost {
        guard let host = RegistryHost(text) else {
            throw Refusal("must be a registry host[:port], not \(shown(text))")
        }
        return host
    }

    /// An operating system by Go's name.
    package static func os(_ text: String) throws(Refusal) -> String {
        guard isPlatformWord(text[...]) else {
            throw Refusal("must be an operating system such as linux, not \(shown(text))")
        }
        return text
    }

    /// An architecture by Go's name, with an optional variant.
    package static func arch(_ text: String) throws(Refusal) -> String {
        let words = text.split(separator: "/", omittingEmptySubsequences: false)
        guard words.count <= 2, words.allSatisfy(isPlatformWord) else {
            throw Refusal("must be an architecture such as amd64 or arm/v7, not \(shown(text))")
        }
        return text
    }

    private static func isPlatformWord(_ word: Substring) -> Bool {
        !word.isEmpty && word.utf8.allSatisfy { ASCII.isLower($0) || ASCII.isDigit($0) || $0 == 0x5F || $0 == 0x2E }
    }

    package static func path(_ text: String) throws(Refusal) -> String {
        guard !text.isEmpty else { throw Refusal("must not be empty") }
        guard text.utf8.count <= maximumPathBytes else { throw Refusal("longer than \(maximumPathBytes) bytes") }
        return try line(text)
    }

    /// Text for a header, a file name or a C function: without control characters, so that nothing can end it early.
    static func line(_ text: String) throws(Refusal) -> String {
        guard text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { throw Refusal("holds a control character") }
        return text
    }

    static func scheme(_ text: String) throws(Refusal) -> RegistryConfig.Scheme {
        guard let scheme = RegistryConfig.Scheme(rawValue: text) else {
            throw Refusal("must be https or http, not \(shown(text))")
        }
        return scheme
    }

    /// `host[:port]`, or an https URL reduced to that part.
    static func tokenRealm(_ text: String) throws(Refusal) -> String {
        let lower = text.lowercased()
        let isURL = lower.hasPrefix("https://")
        let authority = isURL ? lower.dropFirst(8).prefix { !"/?#".contains($0) } : lower[...]
        guard RegistryHost(String(authority)) != nil else {
            throw Refusal("must be host[:port] or an https URL of the token realm")
        }
        return String(authority)
    }

    /// A value as an error message shows it: short, and on one line.
    package static func shown(_ text: String) -> String {
        let visible = text.unicodeScalars.prefix(60).map { scalar in
            scalar.properties.generalCategory == .control ? "?" : String(scalar)
        }
        return "\"" + visible.joined() + (text.unicodeScalars.count > 60 ? "…" : "") + "\""
    }
}
