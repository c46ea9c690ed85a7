// Image names as people write them in commands and lists, and as image archives contain them.

/// A registry's repository with a tag, a digest, or both.
///
/// Source: the familiar form of docker, podman and containerd: `[host/]repository[:tag][@digest]`. A first segment that
/// does not look like a host belongs to the repository; Docker Hub's one-segment repositories are under `library/`.
package struct ImageName: Hashable, Sendable, CustomStringConvertible {
    package let host: RegistryHost
    package let repository: RepositoryName
    package let tag: String?
    /// Where present, this selects the content, and the tag is only informative.
    package let digest: Digest?

    package init(host: RegistryHost, repository: RepositoryName, tag: String?, digest: Digest? = nil) {
        self.host = host
        self.repository = repository
        self.tag = tag
        self.digest = digest
    }

    /// Reads a name; nil when it is invalid. Without tag and digest both are nil; the caller decides what that means.
    /// - Parameter defaultHost: the registry of a name without a host.
    package init?(_ text: String, defaultHost: RegistryHost = .dockerHub) {
        var rest = text[...]
        var digest: Digest?
        if let at = rest.utf8.firstIndex(of: 0x40) {
            digest = Digest(rest[rest.utf8.index(after: at)...])
            guard digest != nil else { return nil }
            rest = rest[..<at]
        }
        var tag: String?
        // A colon after the last slash starts a tag; one before it starts a port.
        if let colon = rest.utf8.lastIndex(of: 0x3A), !rest.utf8[colon...].contains(0x2F) {
            guard case .tag(let name) = Reference(String(rest[rest.utf8.index(after: colon)...])) else { return nil }
            tag = name
            rest = rest[..<colon]
        }
        guard let (host, path) = ImageName.split(rest, defaultHost) else { return nil }
        let isLibrary = host.isDockerHub && !path.utf8.contains(0x2F)
        guard let repository = RepositoryName(isLibrary ? "library/\(path)" : String(path)) else { return nil }
        self.init(host: host, repository: repository, tag: tag, digest: digest)
    }

    /// The reference to request from a registry: the digest, else the tag, else `latest`.
    package var reference: Reference {
        if let digest { return .digest(digest) }
        return .tag(tag ?? "latest")
    }

    package var description: String {
        "\(host)/\(repository)" + (tag.map { ":\($0)" } ?? "") + (digest.map { "@\($0)" } ?? "")
    }

    private static func split(_ text: Substring, _ defaultHost: RegistryHost) -> (RegistryHost, Substring)? {
        guard let slash = text.utf8.firstIndex(of: 0x2F) else { return (defaultHost, text) }
        var first = String(text[..<slash])
        guard first.withUTF8({ RegistryHost.looksLikeHost(UnsafeRawBufferPointer($0)) }) else {
            return (defaultHost, text)
        }
        guard let host = RegistryHost(first) else { return nil }
        return (host, text[text.utf8.index(after: slash)...])
    }
}
