// URLs are parsed and built with curl's own URL API, so that policy and transport always read them in the same way.

internal import CCurl
internal import OCI

extension UpstreamURL {
    /// Longest URL accepted, in bytes: signed blob URLs have one or two kilobytes.
    static let maximumBytes = 16 * 1024

    /// Reads an absolute http or https URL. Nil for any other text, and for a URL with user information.
    package init?(_ text: String) {
        self.init(text, relativeTo: nil)
    }

    /// The URL with another path and query, both already percent-encoded.
    package func with(path: String, query: String?) -> UpstreamURL? {
        guard let parts = URLParts(), parts.set(CURLUPART_URL, text), parts.set(CURLUPART_PATH, path),
            parts.set(CURLUPART_QUERY, query)
        else { return nil }
        return UpstreamURL(parts)
    }

    /// The URL with parameters added to its query, form-encoded.
    package func adding(_ parameters: [(name: String, value: String)]) -> UpstreamURL? {
        guard let parts = URLParts(), parts.set(CURLUPART_URL, text) else { return nil }
        for (name, value) in parameters {
            let flags = UInt32(CURLU_APPENDQUERY | CURLU_URLENCODE)
            guard parts.set(CURLUPART_QUERY, "\(name)=\(value)", flags) else { return nil }
        }
        return UpstreamURL(parts)
    }

    /// Resolves a `Location` value (RFC 3986 §5). Nil unless the result is an http or https URL without user
    /// information.
    package func resolving(_ location: String) -> UpstreamURL? { UpstreamURL(location, relativeTo: text) }

    private init?(_ text: String, relativeTo base: String?) {
        guard text.utf8.count <= UpstreamURL.maximumBytes, !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }),
            let parts = URLParts()
        else { return nil }
        if let base { guard parts.set(CURLUPART_URL, base) else { return nil } }
        guard parts.set(CURLUPART_URL, text, UInt32(CURLU_DISALLOW_USER | CURLU_URLENCODE)) else { return nil }
        self.init(parts)
    }

    private init?(_ parts: borrowing URLParts) {
        guard parts.get(CURLUPART_USER) == nil, parts.get(CURLUPART_PASSWORD) == nil,
            parts.get(CURLUPART_ZONEID) == nil,
            let scheme = parts.get(CURLUPART_SCHEME).flatMap({ Scheme(rawValue: $0.asciiLowercased) }),
            var host = parts.get(CURLUPART_HOST)?.asciiLowercased,
            let digits = parts.get(CURLUPART_PORT, UInt32(CURLU_DEFAULT_PORT)),
            let port = OutsideNumber.decimal(digits, in: 1...UInt16.max)
        else { return nil }
        if host.hasSuffix(".") { host.removeLast() }
        // A fragment is for the client only, and never sent (RFC 9110 §4.2.3).
        guard !host.isEmpty, parts.set(CURLUPART_FRAGMENT, nil), let text = parts.get(CURLUPART_URL) else { return nil }
        self.init(
            scheme: scheme, host: host, port: port, path: parts.get(CURLUPART_PATH) ?? "/",
            query: parts.get(CURLUPART_QUERY), text: text)
    }
}

/// A `CURLU` handle (libcurl's "curl_url").
struct URLParts: ~Copyable {
    private let handle: OpaquePointer

    init?() {
        guard let handle = curl_url() else { return nil }
        self.handle = handle
    }

    deinit { curl_url_cleanup(handle) }

    func set(_ part: CURLUPart, _ value: String?, _ flags: UInt32 = 0) -> Bool {
        guard let value else { return curl_url_set(handle, part, nil, flags) == CURLUE_OK }
        return curl_url_set(handle, part, value, flags) == CURLUE_OK
    }

    func get(_ part: CURLUPart, _ flags: UInt32 = 0) -> String? {
        var text: UnsafeMutablePointer<CChar>?
        guard curl_url_get(handle, part, &text, flags) == CURLUE_OK, let text else { return nil }
        defer { curl_free(text) }
        return String(cString: text)
    }
}
