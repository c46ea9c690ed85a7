// The names of one repository's manifests on the disk, for `cooldown`: after a restart it is not known which images may
// be pulled, and so which manifests and blobs they name.

package import OCI

/// A manifest that a repository has a name for.
package struct NamedManifest: Sendable {
    package let digest: Digest
    /// The tags that mean it.
    package var tags: [String] = []
    /// The time of the manifest's file, in seconds since 1970; nil when it is not in the cache.
    package var fileSeconds: Int64?
}

extension Store {
    /// Names that are read of one repository. A repository with more has been pulled from for years.
    private static let maximumNames = 100_000

    /// Whether a manifest may be in the cache, from memory.
    package func mayHaveManifest(_ digest: Digest) -> Bool {
        manifests[digest] != nil || manifestsInWriting[digest] != nil || !isRecovered
    }

    /// Finds the manifests that a repository has names for.
    package func namedManifests(
        host: RegistryHost, repository: RepositoryName, then: @escaping ([NamedManifest]) -> Void
    ) {
        let layout = layout
        let name = TagName(host: host, repository: repository, tag: "")
        let (tags, digests) = (layout.tagDirectory(name), layout.digestsDirectory(host, repository))
        perform({ () throws(StoreError) in
            var found: [Digest: NamedManifest] = [:]
            for tag in ((try? Disk.names(in: tags)) ?? []).prefix(Store.maximumNames) {
                guard let record = try? TagRecord.read("\(tags)/\(tag)") else { continue }
                found[record.digest, default: NamedManifest(digest: record.digest)].tags.append(tag)
            }
            for file in ((try? Disk.names(in: digests)) ?? []).prefix(Store.maximumNames) {
                guard let digest = Layout.readDigestFileName(file), found[digest] == nil else { continue }
                found[digest] = NamedManifest(digest: digest)
            }
            return found.values.map { named in
                var named = named
                for type in MediaType.allCases where named.fileSeconds == nil {
                    named.fileSeconds = (try? Disk.status(at: layout.manifest(named.digest, type)))?.modifiedSeconds
                }
                return named
            }
        }) { then((try? $0.get()) ?? []) }
    }
}
