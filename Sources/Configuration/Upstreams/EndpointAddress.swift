// The address of an endpoint: a registry, or a part of one below a path.

package import OCI

/// Where the requests for a registry are sent. Some registries are below a path (Artifactory), and some proxies have
/// another registry's repositories below one of their own (Harbor).
package struct EndpointAddress: Sendable, Equatable, CustomStringConvertible {
    package enum Scheme: String, Sendable, CaseIterable { case https, http }

    package let scheme: Scheme
    /// `host[:port]`, in lower case.
    package let authority: String
    /// What stands before `/v2/` in every request, such as `/artifactory/api/docker/hub`; empty for most.
    package let pathPrefix: String
    /// What stands before every repository, such as `dockerhub-proxy`; empty for most.
    package let repositoryPrefix: String

    /// An address without a path.
    package init(_ scheme: Scheme, _ host: RegistryHost) {
        self.scheme = scheme
        authority = host.text
        pathPrefix = ""
        repositoryPrefix = ""
    }

    /// Reads `http[s]://host[:port][/path]`. A segment `v2` divides the path into what goes before `/v2/` and what goes
    /// before the repository; without one, all of it goes before the repository.
    package init(parsing text: String) throws(Refusal) {
        // The error does not show the text, since it may contain a password.
        if text.contains("@") { throw Refusal("must not hold a user or password; they belong under auth") }
        guard let scheme = Scheme.allCases.first(where: { text.asciiLowercased.hasPrefix("\($0.rawValue)://") }) else {
            throw EndpointAddress.malformed(text)
        }
        let rest = text.dropFirst(scheme.rawValue.utf8.count + 3)
        let authority = String(rest.prefix { $0 != "/" }).asciiLowercased
        guard RegistryHost(authority) != nil else { throw EndpointAddress.malformed(text) }
        var path = rest.dropFirst(authority.utf8.count)
        if path.hasSuffix("/") { path.removeLast() }
        let segments = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        guard segments.allSatisfy(EndpointAddress.isSegment) else { throw EndpointAddress.malformed(text) }
        self.scheme = scheme
        self.authority = authority
        let dividing = segments.firstIndex(of: "v2")
        pathPrefix = segments[..<(dividing ?? segments.startIndex)].map { "/\($0)" }.joined()
        let repository = segments[(dividing.map { $0 + 1 } ?? segments.startIndex)...].joined(separator: "/")
        guard repository.isEmpty || RepositoryName(repository) != nil else {
            throw Refusal(
                "its path must be one of repositories (lower case), or have v2 between what precedes /v2/ and that,"
                    + " not "
                    + ConfigRules.shown(text))
        }
        repositoryPrefix = repository
    }

    /// `scheme://host[:port]`.
    package var origin: String { "\(scheme.rawValue)://\(authority)" }

    package var hasPath: Bool { !pathPrefix.isEmpty || !repositoryPrefix.isEmpty }

    package var description: String {
        origin + (hasPath ? pathPrefix + "/v2" + (repositoryPrefix.isEmpty ? "" : "/" + repositoryPrefix) : "")
    }

    /// A path's segment of RFC 3986 without escapes, and none that means another directory.
    private static func isSegment(_ segment: Substring) -> Bool {
        guard !segment.isEmpty, segment != ".", segment != ".." else { return false }
        return segment.utf8.allSatisfy {
            ASCII.isLower($0) || ASCII.isDigit($0) || ASCII.isUpper($0) || "-._~".utf8.contains($0)
        }
    }

    private static func malformed(_ text: String) -> Refusal {
        Refusal(
            "must be https://host[:port] or http://host[:port], with a path or without, not " + ConfigRules.shown(text))
    }
}
