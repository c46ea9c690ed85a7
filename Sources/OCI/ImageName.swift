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
        guard let written = try? WrittenImageName(text, defaultHost: defaultHost) else { return nil }
        self = written.name
    }

    /// The reference to request from a registry: the digest, else the tag, else `latest`.
    package var reference: Reference {
        if let digest { return .digest(digest) }
        return .tag(tag ?? "latest")
    }

    package var description: String {
        "\(host)/\(repository)" + (tag.map { ":\($0)" } ?? "") + (digest.map { "@\($0)" } ?? "")
    }

}

/// An image name as somebody wrote it, and the parts of it that the text did not have.
package struct WrittenImageName: Hashable, Sendable {
    package let name: ImageName
    /// The registry as the text has it; nil for the default one.
    package let hostText: String?
    /// Whether `library/` was added.
    package let isLibraryAdded: Bool

    /// Why a text is no image name.
    package struct Invalid: Error, Equatable, CustomStringConvertible {
        package let description: String

        fileprivate init(_ description: String) { self.description = description }
    }

    /// - Parameter defaultHost: the registry of a name without a host.
    package init(_ text: String, defaultHost: RegistryHost = .dockerHub) throws(Invalid) {
        var rest = text[...]
        var digest: Digest?
        if let at = rest.utf8.firstIndex(of: 0x40) {
            digest = Digest(rest[rest.utf8.index(after: at)...])
            guard digest != nil else {
                throw Invalid(
                    "what follows the @ is no digest: sha256: and 64 lower-case hexadecimal digits, or sha512: and 128")
            }
            rest = rest[..<at]
        }
        var tag: String?
        // A colon after the last slash starts a tag; one before it starts a port.
        if let colon = rest.utf8.lastIndex(of: 0x3A), !rest.utf8[colon...].contains(0x2F) {
            guard case .tag(let name) = Reference(String(rest[rest.utf8.index(after: colon)...])) else {
                throw Invalid(
                    "what follows the last colon is no tag: letters, digits, _ . and - (not first), at most "
                        + "\(Reference.maximumTagBytes)")
            }
            tag = name
            rest = rest[..<colon]
        }
        let (hostText, path) = WrittenImageName.split(rest)
        guard let host = hostText.map({ RegistryHost($0) }) ?? defaultHost else {
            throw Invalid("its registry is not of the form host[:port]")
        }
        let isLibrary = host.isDockerHub && !path.utf8.contains(0x2F)
        guard let repository = RepositoryName(isLibrary ? "library/\(path)" : String(path)) else {
            throw Invalid(
                "invalid repository name: its parts must be lower-case letters and digits, with . _ __ or - between "
                    + "them, and all of it at most \(RepositoryName.maximumBytes) bytes")
        }
        self.hostText = hostText
        isLibraryAdded = isLibrary
        name = ImageName(host: host, repository: repository, tag: tag, digest: digest)
    }

    private static func split(_ text: Substring) -> (host: String?, path: Substring) {
        guard let slash = text.utf8.firstIndex(of: 0x2F) else { return (nil, text) }
        var first = String(text[..<slash])
        guard first.withUTF8({ RegistryHost.looksLikeHost(UnsafeRawBufferPointer($0)) }) else { return (nil, text) }
        return (first, text[text.utf8.index(after: slash)...])
    }
}
