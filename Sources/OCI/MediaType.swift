// The manifest types that this server accepts and requests from upstreams.

/// A manifest's media type. The server treats content of any other type as no manifest.
package enum MediaType: UInt8, CaseIterable, Sendable {
    case ociIndex
    case ociManifest
    case dockerManifestList
    case dockerManifest
    case ociArtifact

    /// The text in `Content-Type` and `mediaType`.
    package var text: String {
        switch self {
        case .ociIndex: "application/vnd.oci.image.index.v1+json"
        case .ociManifest: "application/vnd.oci.image.manifest.v1+json"
        case .dockerManifestList: "application/vnd.docker.distribution.manifest.list.v2+json"
        case .dockerManifest: "application/vnd.docker.distribution.manifest.v2+json"
        case .ociArtifact: "application/vnd.oci.artifact.manifest.v1+json"
        }
    }

    /// Reads a `Content-Type`; parameters are dropped and case is ignored (RFC 9110 §8.3.1).
    package init?(_ contentType: String) {
        let essence = contentType.split(separator: ";", maxSplits: 1, omittingEmptySubsequences: false)[0]
        let name = String(essence.filter { $0 != " " && $0 != "\t" }).asciiLowercased
        guard let match = MediaType.allCases.first(where: { $0.text == name }) else { return nil }
        self = match
    }

    /// Whether it lists manifests (one per platform) rather than layers.
    package var isIndex: Bool { self == .ociIndex || self == .dockerManifestList }

    /// Every type, for the `Accept` of upstream requests: with fewer types docker-registry 2.8 converts a list to one
    /// platform's old schema, and such a response must not be cached for all clients.
    package static let acceptTypes: [String] = allCases.map(\.text)
}
