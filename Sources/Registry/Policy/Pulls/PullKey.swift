// What identifies a pull, from the queue to the partial file's name.

package import OCI

/// A blob of one upstream repository: one transfer and one partial file each. The host and repository are part of it so
/// that no upstream can slow down or refuse another's content, and nobody's content is mixed with another's before it
/// is verified; finished, verified files are shared by digest alone.
package struct PullKey: Hashable, Sendable {
    package let host: RegistryHost
    package let repository: RepositoryName
    package let digest: Digest

    /// What a 429 is about.
    package var limited: UpstreamRepository { UpstreamRepository(host: host, repository: repository) }

    package init(host: RegistryHost, repository: RepositoryName, digest: Digest) {
        self.host = host
        self.repository = repository
        self.digest = digest
    }
}
