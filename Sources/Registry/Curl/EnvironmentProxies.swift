// The proxies that curl takes from the environment. They count as configured, since a proxy on loopback is usual.

internal import CCurl
internal import Glibc
internal import OCI

extension AddressGuard {
    /// Proxies at numeric addresses or `localhost`, from the variables that curl reads (libcurl's "libcurl-env"). Other
    /// names are not resolved here: they are not expected to be local.
    package static func environmentProxies() -> Set<Proxy> {
        var found: Set<Proxy> = []
        for name in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            guard let value = getenv(name), let (host, port) = proxy(String(cString: value)) else { continue }
            for literal in host == "localhost" ? ["127.0.0.1", "::1"] : [host] {
                if let address = NetworkAddress(literal: literal) { found.insert(Proxy(address: address, port: port)) }
            }
        }
        return found
    }

    private static func proxy(_ text: String) -> (host: String, port: UInt16)? {
        // curl's default port for proxies of any kind (libcurl's "CURLOPT_PROXY").
        let defaultPort: UInt16 = 1080
        guard !text.isEmpty, let parts = URLParts(),
            parts.set(CURLUPART_URL, text, UInt32(CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME)),
            let host = parts.get(CURLUPART_HOST)?.asciiLowercased
        else { return nil }
        let port = parts.get(CURLUPART_PORT).flatMap { OutsideNumber.decimal($0, in: 0...UInt16.max) }
        return (host, port ?? defaultPort)
    }
}
