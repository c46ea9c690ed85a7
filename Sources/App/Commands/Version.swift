// The version of this program, and of the compiler and libraries it was built with; the `version` command, which prints
// them.

import ArgumentParser
import OCI
import Registry

enum Version {
    static let text = "0.1.0"

    /// The labels of `ociregistry_build_info`: this program, the compiler and the libraries.
    static var parts: [(label: String, value: String)] {
        [
            ("version", text), ("swift", compiler), ("libuv", EventLoop.libraryVersion),
            ("libcurl", number(CurlMulti.libraryVersion, after: "/")),
            ("openssl", number(SHA256.libraryVersion, after: " ")),
        ]
    }

    /// The compiler states only lower bounds of its version.
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

    /// The number in a library's version text: `3.0.19` in `OpenSSL 3.0.19 27 Jan 2026`.
    private static func number(_ text: String, after mark: Character) -> String {
        let parts = text.split(whereSeparator: { $0 == mark || $0 == " " })
        return parts.count > 1 ? String(parts[1]) : text
    }
}

/// The `version` command: prints this program's version and those of the system libraries it runs on.
struct ShowVersion: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Show the version.")

    @OptionGroup var global: GlobalOptions

    func run() {
        print("ociregistry \(Version.text)")
        print("libuv \(EventLoop.libraryVersion), \(CurlMulti.libraryVersion), \(SHA256.libraryVersion)")
    }
}
