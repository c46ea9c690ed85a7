// Fetches what refers to a manifest, so that it is in the cache when the upstream cannot be asked: its list of
// referrers, their manifests and blobs, what refers to those in turn, and the tags that cosign keeps signatures,
// attestations and SBOMs under.

internal import Logging
internal import OCI

/// Fetches the referrers of one manifest. It keeps itself alive until it has ended.
final class ReferrersFetch {
    /// Referrers of referrers: a signature of an SBOM of an image is at depth 2.
    static let maximumDepth = 4
    /// What is fetched for one image: a publisher can name any number of referrers. An image with a signature for each
    /// of its platforms has some hundred.
    struct Limits {
        var manifests = 1000
        var blobs = 5000
        /// The sum of the sizes in the descriptors.
        var blobBytes: Int64 = 1 << 30
    }
    /// Concurrent requests for manifests and lists, since a list can have thousands of entries.
    static let maximumAtOnce = 4

    /// What was fetched, and what was not.
    struct Report {
        /// Whether a manifest or blob was not in the cache.
        var wasMissing = false
        var problems: [String] = []
    }

    private let source: PullSource
    private let puller: Puller
    private let blob: (Descriptor, @escaping (_ error: RegistryError?, _ wasMissing: Bool) -> Void) -> Void
    private let onManifest: (CachedManifest) -> Void
    private let isStopping: () -> Bool
    private let then: (Report) -> Void
    private let gate = Gate(limit: ReferrersFetch.maximumAtOnce)
    private var visited: Set<Digest> = []
    private var blobCount = 0
    private var blobBytes: Int64 = 0
    private var hasReachedLimit = false
    private var report = Report()
    private var pending = 0

    /// - Parameters:
    ///   - blob: makes sure that a blob of a referrer is in the cache.
    ///   - onManifest: called for every manifest, fetched or cached.
    ///   - isStopping: whether nothing more is to be requested.
    ///   - then: called once, at the end.
    init(
        puller: Puller, source: PullSource,
        blob: @escaping (Descriptor, @escaping (_ error: RegistryError?, _ wasMissing: Bool) -> Void) -> Void,
        onManifest: @escaping (CachedManifest) -> Void = { _ in }, isStopping: @escaping () -> Bool = { false },
        then: @escaping (Report) -> Void
    ) {
        self.puller = puller
        self.source = source
        self.blob = blob
        self.onManifest = onManifest
        self.isStopping = isStopping
        self.then = then
    }

    func start(of subject: Digest) {
        visited.insert(subject)
        pending = 1
        fetchList(of: subject, depth: 0)
        for tag in ReferrersIndex.tags(of: subject) {
            pending += 1
            gate.enter { [self] in pull(.tag(tag), depth: 1) }
        }
        end()
    }

    private func fetchList(of subject: Digest, depth: Int) {
        pending += 1
        gate.enter { [self] in
            guard !isStopping() else {
                gate.leave()
                return end("stopped")
            }
            fetchListInGate(of: subject, depth: depth)
        }
    }

    private func fetchListInGate(of subject: Digest, depth: Int) {
        let name = ListName(host: source.host, repository: source.repository, kind: .referrers(subject))
        puller.list(name, from: source) { [self] result in
            gate.leave()
            switch result {
            case .failure(.tooLarge): end("\(name) are too many to be kept")
            case .failure(.failed(let error)): end("\(name): \(error.reason)")
            case .success(let list): visit(list, depth: depth)
            }
        }
    }

    private func visit(_ list: KeptList, depth: Int) {
        puller.context.offload.run {
            try list.pages.flatMap { try ReferrersIndex($0).entries }.compactMap { Digest($0.digest) }
        } then: { [self] (result: Result<[Digest], any Error>) in
            for digest in (try? result.get()) ?? [] { take(digest, depth: depth + 1) }
            end()
        }
    }

    private func take(_ digest: Digest, depth: Int) {
        guard !visited.contains(digest) else { return }
        guard visited.count < puller.referrersLimits.manifests else { return reachLimit("manifests") }
        visited.insert(digest)
        pending += 1
        gate.enter { [self] in
            puller.context.store.findManifest(digest) { [self] found in
                guard let found else { return pull(.digest(digest), depth: depth) }
                // Its name in this repository says that it is a part of it.
                puller.context.store.noteDigest(host: source.host, repository: source.repository, digest: digest)
                gate.leave()
                visit(found, depth: depth)
            }
        }
    }

    /// Fetches a manifest, within the gate. One that the registry does not have is not missed: lists outlive what they
    /// name, and most images have no such tags.
    private func pull(_ reference: Reference, depth: Int) {
        guard !isStopping() else {
            gate.leave()
            return end("stopped")
        }
        var source = source
        // With a cooldown a check decides what a tag means.
        source.setsTag = !puller.context.store.keepsLedger
        puller.manifest(reference, from: source, isOptional: true) { [self] result, _ in
            gate.leave()
            switch result {
            case .success(let manifest):
                if case .digest = reference { report.wasMissing = true }
                visit(manifest, depth: depth)
            case .failure(let error) where error.status == 404: end()
            case .failure(let error): end("\(reference): \(error.reason)")
            }
        }
    }

    /// Fetches the parts of a manifest. Ends the calling step.
    private func visit(_ manifest: CachedManifest, depth: Int) {
        visited.insert(manifest.digest)
        onManifest(manifest)
        let (body, type) = (manifest.sharedBody, manifest.mediaType.text)
        puller.context.offload.run {
            try Manifest.decode(body.bytes, contentType: type)
        } then: { [self] (result: Result<Manifest, any Error>) in
            guard case .success(let decoded) = result else { return end() }
            // The entries of a fallback tag's index are referrers of the same manifest.
            if depth < ReferrersFetch.maximumDepth {
                for child in decoded.manifests { take(child.digest, depth: depth + 1) }
                if decoded.subject != nil { fetchList(of: manifest.digest, depth: depth) }
            }
            for descriptor in decoded.prefetchedBlobs { need(descriptor) }
            end()
        }
    }

    private func need(_ descriptor: Descriptor) {
        blobCount += 1
        blobBytes = blobBytes.addingSaturated(max(0, descriptor.sizeBytes ?? 0))
        let limits = puller.referrersLimits
        guard blobCount <= limits.blobs, blobBytes <= limits.blobBytes else {
            return reachLimit("blobs")
        }
        pending += 1
        blob(descriptor) { [self] error, wasMissing in
            if wasMissing { report.wasMissing = true }
            end(error.map { "\(descriptor.digest): \($0.reason)" })
        }
    }

    private func reachLimit(_ what: String) {
        guard !hasReachedLimit else { return }
        hasReachedLimit = true
        let limits = puller.referrersLimits
        report.problems.append(
            "there are more referrers than are fetched (\(limits.manifests) manifests, \(limits.blobs) blobs, "
                + "\(limits.blobBytes) bytes): the \(what) beyond are left out")
    }

    /// Ends a step.
    private func end(_ problem: String? = nil) {
        if let problem { report.problems.append(problem) }
        pending -= 1
        if pending == 0 { then(report) }
    }
}

extension Puller {
    /// Images whose referrers are prefetched at once. A client that pulls a hundred images waits for none of them;
    /// those beyond the limit are left to the client's own requests.
    private static let maximumReferrerPrefetches = 16

    /// Prefetches the referrers of a manifest that a client has pulled (`prefetchReferrers`).
    func prefetchReferrers(of manifest: CachedManifest, from source: PullSource) {
        guard context.settings.prefetchReferrers, !isClosed,
            referrerPrefetches.count < Puller.maximumReferrerPrefetches,
            referrerPrefetches.insert(source.key(manifest.digest)).inserted
        else { return }
        ReferrersFetch(
            puller: self, source: source,
            blob: { [self] descriptor, done in
                context.store.hasBlob(descriptor) { [self] isPresent in
                    if !isPresent { _ = blob(descriptor.digest, from: source, demand: .prefetch) }
                    done(nil, !isPresent)
                }
            }, isStopping: { [self] in isClosed }
        ) { [self] report in
            referrerPrefetches.remove(source.key(manifest.digest))
            guard let first = report.problems.first, !isClosed else { return }
            context.logger.warning(
                "referrers are not prefetched",
                metadata: [
                    "host": "\(source.host)", "repository": "\(source.repository)", "digest": "\(manifest.digest)",
                    "reason": "\(first)",
                ])
        }.start(of: manifest.digest)
    }
}
