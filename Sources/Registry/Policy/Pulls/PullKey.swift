// The identity of a blob pull, from the queue to the partial file's name.

package import OCI

/// A blob of one upstream repository: one transfer and one partial file. Host and repository are part of the key, so
/// that no upstream can slow down or refuse another's content, and unverified content is never mixed. Verified files
/// are shared by digest alone.
package struct PullKey: Hashable, Sendable {
    package let host: RegistryHost
    package let repository: RepositoryName
    package let digest: Digest

    /// The scope of a 429.
    package var limited: UpstreamRepository { UpstreamRepository(host: host, repository: repository) }

    package init(host: RegistryHost, repository: RepositoryName, digest: Digest) {
        self.host = host
        self.repository = repository
        self.digest = digest
    }
}
