// The one place that says which version this is, and of what.

import OCI
import Registry

enum Version {
    static let text = "0.1.0"

    /// What it is made of, and what it runs on, for `ociregistry_build_info`.
    static var parts: [(label: String, value: String)] {
        [
            ("version", text), ("swift", compiler), ("libuv", EventLoop.libraryVersion),
            ("libcurl", number(CurlMulti.libraryVersion, after: "/")),
            ("openssl", number(SHA256.libraryVersion, after: " ")),
        ]
    }

    /// The compiler says only which versions it is not older than.
    private static var compiler: String {
        #if compiler(>=6.5)
            "6.5 or later"
        #elseif compiler(>=6.4)
            "6.4"
        #elseif compiler(>=6.3)
            "6.3"
        #else
            "6.2"
        #endif
    }

    /// `3.0.19` of `OpenSSL 3.0.19 27 Jan 2026`.
    private static func number(_ text: String, after mark: Character) -> String {
        let parts = text.split(whereSeparator: { $0 == mark || $0 == " " })
        return parts.count > 1 ? String(parts[1]) : text
    }
}
