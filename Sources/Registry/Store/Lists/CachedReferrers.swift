// The referrers that the cache has: manifests with a subject, and the indexes that clients keep under fallback tags.
// They are found by a scan of the store, off the loop, and only when an upstream cannot be asked.

internal import Glibc
package import OCI

/// The referrers in the cache, by the repositories that they are named in.
package struct CachedReferrers: Sendable {
    /// Most referrers: with texts of the usual 500 bytes, 50 MB.
    static let maximumEntries = 100_000

    private struct Key: Hashable {
        /// `host/name`
        let repository: String
        let subject: Digest
    }

    private struct Fallback: Hashable {
        let repository: String
        let tag: String
    }

    private var bySubject: [Key: [ReferrerEntry]] = [:]
    private var fallbacks: [Fallback: [ReferrerEntry]] = [:]
    private var count = 0

    /// The referrers of a manifest in a repository.
    /// - Returns: `isListed`: whether the index of the fallback tag is in the cache, so that some client or registry
    ///   has made a list.
    package func entries(
        of subject: Digest, host: RegistryHost, repository: RepositoryName
    ) -> (entries: [ReferrerEntry], isListed: Bool) {
        let name = "\(host)/\(repository)"
        let listed = fallbacks[Fallback(repository: name, tag: ReferrersIndex.fallbackTag(of: subject))]
        var seen: Set<String> = []
        let all = (listed ?? []) + bySubject[Key(repository: name, subject: subject), default: []]
        return (all.filter { seen.insert($0.digest).inserted }, listed != nil)
    }

    /// Reads the manifests that matter. Blocks.
    /// - Parameter onlyProven: whether a manifest counts only in the repositories that have a proof for it.
    init(_ scan: ImageScan, _ layout: Layout, onlyProven: Bool) {
        let accessed = DigestMap<Int64>()
        for image in scan.images(accessed) where !onlyProven || image.isProven == true {
            guard count < CachedReferrers.maximumEntries else { return }
            let subject = scan.manifests[image.digest]?.subject
            let tag = image.mediaType.isIndex ? image.reference.fallbackTag : nil
            guard subject != nil || tag != nil,
                let bytes = try? Disk.readFile(
                    layout.manifest(image.digest, image.mediaType), maximumBytes: Manifest.maximumSizeBytes)
            else { continue }
            let repository = "\(image.host)/\(image.repository)"
            if let subject,
                let entry = try? ReferrerEntry(manifest: bytes, digest: image.digest, mediaType: image.mediaType)
            {
                bySubject[Key(repository: repository, subject: subject), default: []].append(entry)
                count += 1
            }
            if let tag, let index = try? ReferrersIndex(bytes) {
                fallbacks[Fallback(repository: repository, tag: tag)] = index.entries
                count += index.entries.count
            }
        }
    }
}

extension Reference {
    /// The tag, if it has the form of a fallback tag: `<alg>-<hex>`.
    fileprivate var fallbackTag: String? {
        guard case .tag(let tag) = self else { return nil }
        let parts = tag.split(separator: "-")
        guard parts.count == 2, parts[1].utf8.count == 64, parts[1].utf8.allSatisfy(ASCII.isHexadecimal),
            Digest.Algorithm.allCases.contains(where: { $0.name == parts[0] })
        else { return nil }
        return tag
    }
}

extension Store {
    /// Finds all referrers in the cache.
    package func cachedReferrers(then: @escaping (Result<CachedReferrers, any Error>) -> Void) {
        let (layout, onlyProven) = (layout, requiresProofs)
        scan(readsProofs: onlyProven, { scan, _ in CachedReferrers(scan, layout, onlyProven: onlyProven) }, then: then)
    }

    /// The tags of a repository that are in the cache, sorted.
    package func cachedTags(
        host: RegistryHost, repository: RepositoryName, then: @escaping ([String]) -> Void
    ) {
        let directory = layout.tagDirectory(TagName(host: host, repository: repository, tag: ""))
        perform({ () throws(StoreError) in
            try Disk.names(in: directory).filter { if case .tag = Reference($0) { true } else { false } }.sorted()
        }) { result in
            then((try? result.get()) ?? [])
        }
    }
}
