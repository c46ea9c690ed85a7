// What `setup` is asked for.

package import Configuration
package import OCI

/// The address of the mirror as runtimes need it: `http[s]://host[:port][/path]`.
package struct MirrorURL: Sendable, Equatable, CustomStringConvertible {
    package let scheme: String
    /// `host[:port]`, in lower case.
    package let authority: String
    /// What a proxy in front has before `/v2`, such as `/images`; empty for most.
    package let path: String

    package var description: String { "\(scheme)://\(authority)\(path)" }
    var isPlain: Bool { scheme == "http" }

    package init(_ text: String) throws(Refusal) {
        // The text is not shown where it may have a password.
        if text.contains("@") { throw Refusal("must not have a user or password in it") }
        let lower = text.asciiLowercased
        guard let scheme = ["http", "https"].first(where: { lower.hasPrefix("\($0)://") }) else {
            throw Refusal("must begin with http:// or https://, not \(ConfigRules.shown(text))")
        }
        var rest = text.dropFirst(scheme.utf8.count + 3)
        while rest.hasSuffix("/") { rest.removeLast() }
        let authority = String(rest.prefix { !"/?#".contains($0) }).asciiLowercased
        let path = rest.dropFirst(authority.utf8.count)
        guard RegistryHost(authority) != nil else {
            throw Refusal("must have a host[:port], as http://mirror:8080 does, not \(ConfigRules.shown(text))")
        }
        guard !path.contains(where: { "?#".contains($0) }) else {
            throw Refusal("must have no query (?) and no fragment (#)")
        }
        let segments = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        guard segments.allSatisfy(Self.isSegment) else {
            throw Refusal("has a path that is not plain letters, digits and - . _ ~ between slashes")
        }
        guard segments.last != "v2" else { throw Refusal("must end before /v2, which the runtime adds") }
        self.scheme = scheme
        self.authority = authority
        self.path = String(path)
    }

    private static func isSegment(_ segment: Substring) -> Bool {
        !segment.isEmpty && segment != "." && segment != ".."
            && segment.utf8.allSatisfy {
                ASCII.isLetter($0) || ASCII.isDigit($0) || "-._~".utf8.contains($0)
            }
    }
}

/// One call of `setup`.
package struct SetupRequest: Sendable {
    package let runtime: Runtime
    /// Nil: everything that `setup` has written is taken away.
    package let mirror: MirrorURL?
    /// Empty: every registry that the runtime lets one name by one entry, or the usual ones.
    package let registries: [RegistryHost]
    /// A PEM file of this machine, relative to the working directory or not; the caller has checked its content.
    package let authorityFile: String?
    package let root: String
    /// For containerd: config.toml is neither read nor written.
    package let hostsOnly: Bool

    package init(
        runtime: Runtime, mirror: MirrorURL?, registries: [RegistryHost] = [], authorityFile: String? = nil,
        root: String = "/", hostsOnly: Bool = false
    ) {
        self.runtime = runtime
        self.mirror = mirror
        self.registries = registries
        self.authorityFile = authorityFile
        self.root = root
        self.hostsOnly = hostsOnly
    }

    /// The certificate authority as it is copied, with a line in front that says whose file it is: what stands outside
    /// of PEM's own lines is a comment (RFC 7468 §2).
    func authority() throws(Refusal) -> [UInt8]? {
        guard let authorityFile else { return nil }
        guard let bytes = try NodeFiles(root: "/").read(authorityFile) else {
            throw Refusal("\(authorityFile): no such file")
        }
        let text = String(decoding: bytes, as: UTF8.self)
        guard !text.contains("PRIVATE KEY-----") else {
            throw Refusal("\(authorityFile): has a private key in it; --ca takes certificates only")
        }
        return Array((OwnFile.header + "\n" + text).utf8)
    }
}

/// Files that are written, replaced and removed whole.
enum OwnFile {
    static let header = "# Written by 'ociregistry setup', which replaces and removes this file as a whole."
    private static let mark = Array("# Written by 'ociregistry setup'".utf8)

    static func isOwn(_ bytes: [UInt8]?) -> Bool { bytes?.starts(with: mark) ?? false }

    static func bytes(_ lines: [String]) -> [UInt8] { Array(([header] + lines).map { $0 + "\n" }.joined().utf8) }
}
