// The pull of one manifest. It is small enough to collect in memory, so it is verified and decoded before its first
// byte is sent to a client.

internal import Logging
internal import OCI

/// A manifest pull in progress, and the callers that wait for it.
final class ManifestPull {
    /// The manifest, which is in the store by then, or the error.
    typealias Outcome = Result<CachedManifest, RegistryError>

    private struct Verified: Sendable {
        let bytes: [UInt8]
        let digest: Digest
        let mediaType: MediaType
        let blobs: [Digest]
        let inline: [InlineBlob]
        /// Why parts of it could not be read; nil when all could.
        let unread: String?
    }

    private let reference: Reference
    private let source: PullSource
    private let context: PullContext
    private let isOptional: Bool
    private var waiting: [(Outcome) -> Void] = []
    private var fetch: BufferedFetch?
    /// When the upstream was asked, on the store's `tagClock`.
    private var asked: Int64 = 0

    /// - Parameter isOptional: whether a 404 is no failed pull.
    init(reference: Reference, source: PullSource, context: PullContext, isOptional: Bool) {
        self.isOptional = isOptional
        self.reference = reference
        self.source = source
        self.context = context
    }

    func join(_ then: @escaping (Outcome) -> Void) { waiting.append(then) }

    /// - Parameter ended: called before the waiting callers, so that a request they start does not join this pull.
    func start(ended: @escaping (Outcome) -> Void) {
        let request = UpstreamRequest.manifest(.get, reference, source)
        asked = context.store.tagClock
        fetch = BufferedFetch(
            request, to: source.host, client: context.client, memory: context.store.backlog,
            limitBytes: Manifest.maximumSizeBytes
        ) { [self] result in
            switch result {
            case .failure(let error): finish(.failure(error), ended)
            case .success(let answer): verify(answer, ended)
            }
        }
    }

    func cancel(_ error: RegistryError) { fetch?.cancel(error) }

    /// Hashes and decodes off the loop: four megabytes of JSON would delay other clients too long.
    private func verify(_ answer: BufferedFetch.Answer, _ ended: @escaping (Outcome) -> Void) {
        let stated = answer.head.dockerContentDigest
        let (reference, body, contentType) = (reference, answer.body, answer.head.contentType)
        context.offload.run {
            try ManifestPull.check(body, reference: reference, stated: stated, contentType: contentType)
        } then: { [self] (result: Result<Verified, any Error>) in
            switch result {
            case .success(let verified):
                store(verified, ended)
                // The store accounts for the memory from here on.
                answer.hold.release()
            case .failure(let error as RegistryError):
                if error.code == .digestInvalid {
                    context.metrics.pulls.verificationFailed(.manifest)
                    answer.exchange.noteFailure()
                }
                finish(.failure(error), ended)
            case .failure: finish(.failure(.badManifest("the upstream's manifest cannot be read")), ended)
            }
        }
    }

    private func store(_ verified: Verified, _ ended: @escaping (Outcome) -> Void) {
        if let unread = verified.unread {
            context.logger.warning(
                "a manifest is served verbatim, but not read in full; nothing of the rest is prefetched",
                metadata: [
                    "host": "\(source.host)", "repository": "\(source.repository)", "digest": "\(verified.digest)",
                    "reason": "\(unread)",
                ])
        }
        let entry = context.store.putManifest(
            verified.bytes, digest: verified.digest, mediaType: verified.mediaType, blobs: verified.blobs
        ) { _ in }
        context.store.addProof(verified.digest, host: source.host, repository: source.repository)
        switch reference {
        case .tag(let tag) where source.setsTag:
            context.store.setTag(
                host: source.host, repository: source.repository, tag: tag, digest: verified.digest, checked: asked)
        case .tag:
            context.store.noteDigest(host: source.host, repository: source.repository, digest: verified.digest)
        case .digest(let digest):
            context.store.noteDigest(host: source.host, repository: source.repository, digest: digest)
        }
        guard !verified.inline.isEmpty else { return finish(.success(entry), ended) }
        context.store.putInline(verified.inline[...], host: source.host, repository: source.repository) { [self] in
            finish(.success(entry), ended)
        }
    }

    private func finish(_ outcome: Outcome, _ ended: (Outcome) -> Void) {
        fetch = nil
        switch outcome {
        case .success: context.metrics.pulls.ended(.manifest, succeeded: true)
        case .failure(let error) where isOptional && error.status == 404: break
        case .failure: context.metrics.pulls.ended(.manifest, succeeded: false)
        }
        ended(outcome)
        let all = waiting
        waiting = []
        context.loop.deferred.forEach(all) { $0(outcome) }
    }

    /// The digest in the request, or the one stated by the upstream, must match the bytes; a tag without a stated
    /// digest gets sha256.
    private static func check(
        _ body: [UInt8], reference: Reference, stated: String?, contentType: String?
    ) throws(RegistryError) -> Verified {
        let claimed = stated.flatMap { Digest($0) }
        if stated != nil, claimed == nil {
            throw .badManifest("the upstream's Docker-Content-Digest does not parse")
        }
        let expected: Digest? =
            switch reference {
            case .digest(let digest): digest
            case .tag: claimed
            }
        let actual = body.withUnsafeBytes { Digest.of($0, expected?.algorithm ?? .sha256) }
        if let expected, expected != actual {
            throw RegistryError(
                status: 502, code: .digestInvalid,
                message: "the upstream's manifest does not match its digest \(expected)")
        }
        if let claimed, claimed != actual, claimed.algorithm == actual.algorithm {
            throw RegistryError(
                status: 502, code: .digestInvalid,
                message: "the upstream's Docker-Content-Digest is not that of the manifest it sent")
        }
        do throws(RegistryError) {
            let manifest = try Manifest.decode(body, contentType: contentType)
            // A digest says that these are the bytes; without one, something else may have been sent with the type.
            if expected == nil, let missing = manifest.missingPart { throw RegistryError.badManifest(missing) }
            let unread = manifest.skippedDescriptorCount
            return Verified(
                bytes: body, digest: actual, mediaType: manifest.mediaType, blobs: manifest.ownBlobs.map(\.digest),
                inline: manifest.inlineBlobs, unread: unread > 0 ? "descriptors without a known digest: \(unread)" : nil
            )
        } catch {
            // A digest vouches for bytes that cannot be read; an error page comes without one.
            guard expected != nil, let type = contentType.flatMap({ MediaType($0) }) else { throw error }
            return Verified(bytes: body, digest: actual, mediaType: type, blobs: [], inline: [], unread: error.message)
        }
    }
}

extension UpstreamRequest {
    /// A manifest request: it always accepts all known types, and those that the client named.
    static func manifest(_ method: Method, _ reference: Reference, _ source: PullSource) -> UpstreamRequest {
        var request = UpstreamRequest(
            method: method, path: "/v2/\(source.repository)/manifests/\(reference)", repository: source.repository,
            kind: .manifest)
        request.accept = MediaType.acceptTypes + source.extraAccept
        request.via = source.via
        request.client = source.client
        request.requestID = source.requestID
        return request
    }
}
