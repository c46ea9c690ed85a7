// Loads one reference of a list: its top manifest, the manifests of the platforms, and their configs and layers. Cached
// parts are not requested again, so a stopped load resumes where it was.

internal import Configuration
internal import ImageArchive
internal import OCI

/// Fetches one image. It keeps itself alive until it has ended.
final class ImageFetch {
    /// The result of a load.
    enum Outcome {
        case loaded
        case present
        case failed(String)
    }

    /// Nesting depth of indexes, as in archives.
    private static let maximumDepth = ArchiveLimits().indexDepth

    private let name: ImageName
    private let source: PullSource
    private let context: LoadContext
    private let choices: LoadChoices
    private let blobs: BlobFetches
    private let then: (Outcome) -> Void
    private var visited: Set<Digest> = []
    /// Running steps.
    private var pending = 0
    private var wasMissing = false
    private var problems: [String] = []

    init(
        _ name: ImageName, context: LoadContext, choices: LoadChoices, blobs: BlobFetches,
        then: @escaping (Outcome) -> Void
    ) {
        self.name = name
        self.context = context
        self.choices = choices
        self.blobs = blobs
        self.then = then
        source = context.source(of: name)
    }

    func start() {
        pending = 1
        let isWaiting = context.names.decide(name.host, name.repository) { [self] decision in
            switch decision {
            case .allowed: find()
            case .denied(_, let rule): end("may not be pulled here: \(rule)")
            }
        }
        if !isWaiting { end("too many requests wait for a decision on their names") }
    }

    private func find() {
        context.findImage(name) { [self] found in
            guard let found else { return pullNamed() }
            if case .tag(let tag) = name.reference { return check(tag, found) }
            // The manifest may be in the cache without this name.
            context.setName(name, to: found.digest) { [self] error in
                if let error { fail("\(error)") }
                visit(found, depth: 0)
            }
        }
    }

    /// Asks the upstream whether a cached tag has moved. While it cannot say so, what is cached counts as present.
    private func check(_ tag: String, _ found: CachedManifest) {
        guard !choices.isAirGapped, !blobs.isStopping else { return visit(found, depth: 0) }
        let name = TagName(host: name.host, repository: name.repository, tag: tag)
        context.tags.whenPolicyKnown(name) { [self] policy in
            context.tags.check(name, cached: found.digest, policy, from: source, waitsForPause: true) {
                [self] outcome in
                switch outcome {
                case .moved(let manifest, _):
                    wasMissing = true
                    visit(manifest, depth: 0)
                case .failed(.deleted, let error) where policy.removesDeleted: end(error.reason)
                case .held(let hold): heldBack(hold, found, name, policy)
                case .unchanged, .failed: visit(found, depth: 0)
                }
            }
        }
    }

    /// Pulls what the cache has no name for: a list's images are held back like clients' ones (`cooldown`).
    private func pullNamed() {
        guard context.tags.cooldown.isActive, !choices.isAirGapped, !blobs.isStopping else {
            return pull(name.reference, depth: 0)
        }
        guard case .tag(let tag) = name.reference else {
            guard case .digest(let digest) = name.reference else { return }
            return context.tags.cooldown.decide(manifest: digest, from: source, mayFetch: true) { [self] verdict in
                switch verdict {
                case .admitted: pull(name.reference, depth: 0)
                case .held(let hold): end(hold.error("\(digest)").reason)
                case .failed(let error): end(error.reason)
                }
            }
        }
        let tagName = TagName(host: name.host, repository: name.repository, tag: tag)
        context.tags.whenPolicyKnown(tagName) { [self] policy in
            guard policy.cooldown != .zero else { return pull(.tag(tag), depth: 0) }
            wasMissing = true
            context.tags.check(tagName, cached: nil, policy, from: source, waitsForPause: true) { [self] outcome in
                switch outcome {
                case .moved(let manifest, _): visit(manifest, depth: 0)
                case .held(let hold): end(hold.error("\(tagName)").reason)
                case .failed(_, let error): end(error.reason)
                case .unchanged: end("has left the cache")
                }
            }
        }
    }

    private func heldBack(_ hold: CooldownHold, _ found: CachedManifest, _ name: TagName, _ policy: TagPolicy) {
        let scope = context.tags.cooldown.scope(name.host, name.repository)
        context.tags.cooldown.whenPastCooldown(found.digest, name, policy, scope) { [self] isServable in
            if isServable { visit(found, depth: 0) } else { end(hold.error("\(name)").reason) }
        }
    }

    private func pull(_ reference: Reference, depth: Int) {
        if choices.isAirGapped { return end("is not in the cache, and nothing may be fetched (airGapped)") }
        if blobs.isStopping { return end("stopped") }
        wasMissing = true
        context.puller.manifest(reference, from: source) { [self] result, _ in
            switch result {
            case .success(let manifest): visit(manifest, depth: depth)
            case .failure(let error): end(depth == 0 ? error.reason : "\(reference): \(error.reason)")
            }
        }
    }

    /// Parses a manifest off the loop, and requests its parts. Ends the calling step.
    private func visit(_ manifest: CachedManifest, depth: Int) {
        visited.insert(manifest.digest)
        prove(manifest.digest, .manifest, sizeBytes: Int64(manifest.sizeBytes))
        let (bytes, type, platforms) = (Array(manifest.body), manifest.mediaType, choices.platforms)
        context.offload.run {
            try ManifestParts(bytes, type, platforms)
        } then: { [self] (result: Result<ManifestParts, any Error>) in
            switch result {
            case .failure(let error as ManifestParts.Unsuitable): end(error.reason)
            case .failure(let error as RegistryError): end(error.reason)
            case .failure: end("\(manifest.digest): cannot be understood")
            case .success(let parts):
                // What the manifest brings along is stored first, so that it is not asked for.
                context.store.putInline(parts.inline[...], host: source.host, repository: source.repository) { [self] in
                    for child in parts.children { take(child, depth: depth + 1) }
                    for blob in parts.blobs { take(blob) }
                    takeReferrers(of: manifest.digest)
                    end()
                }
            }
        }
    }

    private func take(_ child: Digest, depth: Int) {
        guard visited.insert(child).inserted else { return }
        pending += 1
        guard depth < ImageFetch.maximumDepth else { return end("indexes more than \(depth) deep") }
        context.store.findManifest(child) { [self] found in
            if let found { visit(found, depth: depth) } else { pull(.digest(child), depth: depth) }
        }
    }

    private func take(_ blob: Descriptor) {
        pending += 1
        guard !choices.isAirGapped else {
            return context.store.hasBlob(blob) { [self] isPresent in
                end(isPresent ? nil : "\(blob.digest): is not in the cache, and nothing may be fetched (airGapped)")
            }
        }
        blobs.need(blob, from: source) { [self] error, wasMissing in
            if wasMissing { self.wasMissing = true }
            if error == nil, let sizeBytes = blob.sizeBytes { prove(blob.digest, .blob, sizeBytes: sizeBytes) }
            end(error.map { "\(blob.digest): \($0.reason)" })
        }
    }

    /// Fetches the referrers of a manifest (`--referrers`).
    private func takeReferrers(of subject: Digest) {
        guard choices.includesReferrers, !choices.isAirGapped, !blobs.isStopping else { return }
        pending += 1
        ReferrersFetch(
            puller: context.puller, source: source,
            blob: { [self] blob, done in
                blobs.need(blob, from: source) { [self] error, wasMissing in
                    if error == nil, let sizeBytes = blob.sizeBytes { prove(blob.digest, .blob, sizeBytes: sizeBytes) }
                    done(error, wasMissing)
                }
            }, onManifest: { [self] in prove($0.digest, .manifest, sizeBytes: Int64($0.sizeBytes)) },
            isStopping: { [blobs] in blobs.isStopping }
        ) { [self] report in
            if report.wasMissing { wasMissing = true }
            for problem in report.problems { fail(problem) }
            end()
        }.start(of: subject)
    }

    /// Asks the upstream about content that the cache has from elsewhere, so that it may be served under this name
    /// where no upstream can be asked. A missing proof is no failure of the load.
    private func prove(_ digest: Digest, _ kind: UpstreamRequest.Kind, sizeBytes: Int64) {
        guard !choices.isAirGapped, !blobs.isStopping else { return }
        pending += 1
        context.store.whenProofKnown(digest, host: source.host, repository: source.repository) { [self] isProven in
            guard !isProven else { return end() }
            context.puller.prove(digest, kind, sizeBytes: sizeBytes, from: source) { [self] _ in end() }
        }
    }

    private func fail(_ problem: String) { problems.append(problem) }

    /// Ends a step.
    private func end(_ problem: String? = nil) {
        if let problem { fail(problem) }
        pending -= 1
        guard pending == 0 else { return }
        guard let first = problems.first else { return then(wasMissing ? .loaded : .present) }
        then(.failed(problems.count == 1 ? first : "\(first) (and \(problems.count - 1) more)"))
    }
}

/// The parts of a manifest to fetch for the wanted platforms.
private struct ManifestParts: Sendable {
    struct Unsuitable: Error {
        let reason: String
    }

    var children: [Digest] = []
    var blobs: [Descriptor] = []
    var inline: [InlineBlob] = []

    /// Parses the manifest. Runs off the loop.
    init(_ bytes: [UInt8], _ type: MediaType, _ platforms: PlatformChoice) throws {
        guard type.isIndex else {
            let manifest = try Manifest.decode(bytes, contentType: type.text)
            (blobs, inline) = (manifest.ownBlobs, manifest.inlineBlobs)
            return
        }
        let depth = ArchiveLimits().documentDepth
        let all = try ArchiveDocuments.decode(IndexDocument.self, bytes, depth: depth).manifests
        let entries = all.filter(\.descriptor.isManifest)
        blobs = all.map(\.descriptor).filter { !$0.isManifest }
        // Attestations are fetched only when all platforms are wanted: clients do not request them when they pull.
        let images = platforms == .all ? entries : entries.filter { $0.platform?.isUnknown != true }
        children = images.filter { platforms.accepts($0.platform) }.map(\.digest)
        guard children.isEmpty, !images.isEmpty, case .only(let wanted) = platforms else { return }
        let found = Set(images.compactMap { $0.platform?.description }).sorted().joined(separator: ", ")
        throw Unsuitable(reason: "no image for \(wanted); there are \(found)")
    }
}
