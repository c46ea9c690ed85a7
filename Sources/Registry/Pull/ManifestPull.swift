// One manifest on its way from an upstream: small enough to gather, so it is verified and understood before the first
// byte goes to anyone.

internal import Logging
internal import OCI

/// A manifest pull or a forwarded HEAD in progress, and everyone who waits for it.
final class ManifestPull {
    /// A manifest that is now in the store.
    typealias Outcome = Result<CachedManifest, RegistryError>

    private struct Verified: Sendable {
        let bytes: [UInt8]
        let digest: Digest
        let mediaType: MediaType
        let blobs: [Digest]
        /// Why parts of it could not be read; nil when all could.
        let unread: String?
    }

    private let reference: Reference
    private let source: PullSource
    private let context: PullContext
    private var waiting: [(Outcome) -> Void] = []
    private var fetch: BufferedFetch?

    init(reference: Reference, source: PullSource, context: PullContext) {
        self.reference = reference
        self.source = source
        self.context = context
    }

    func join(_ then: @escaping (Outcome) -> Void) { waiting.append(then) }

    /// - Parameter ended: called before those who wait, so that what they start anew does not join this.
    func start(ended: @escaping () -> Void) {
        let request = UpstreamRequest.manifest(.get, reference, source)
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

    /// Hashes and decodes off the loop: four megabytes of JSON take longer than other clients should wait.
    private func verify(_ answer: BufferedFetch.Answer, _ ended: @escaping () -> Void) {
        let stated = answer.head.dockerContentDigest
        let (reference, body, contentType) = (reference, answer.body, answer.head.contentType)
        context.offload.run {
            try ManifestPull.check(body, reference: reference, stated: stated, contentType: contentType)
        } then: { [self] (result: Result<Verified, any Error>) in
            switch result {
            case .success(let verified):
                store(verified, ended)
                // The store counts it from here on.
                answer.hold.release()
            case .failure(let error as RegistryError):
                if error.code == .digestInvalid { context.metrics.pulls.verificationFailed(.manifest) }
                finish(.failure(error), ended)
            case .failure: finish(.failure(.badManifest("the upstream's manifest cannot be read")), ended)
            }
        }
    }

    private func store(_ verified: Verified, _ ended: @escaping () -> Void) {
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
        switch reference {
        case .tag(let tag):
            context.store.setTag(host: source.host, repository: source.repository, tag: tag, digest: verified.digest)
        case .digest(let digest):
            context.store.noteDigest(host: source.host, repository: source.repository, digest: digest)
        }
        finish(.success(entry), ended)
    }

    private func finish(_ outcome: Outcome, _ ended: () -> Void) {
        fetch = nil
        if case .success = outcome {
            context.metrics.pulls.ended(.manifest, succeeded: true)
        } else {
            context.metrics.pulls.ended(.manifest, succeeded: false)
        }
        ended()
        let all = waiting
        waiting = []
        context.loop.deferred.forEach(all) { $0(outcome) }
    }

    /// The digest asked for, or stated by the upstream, must be that of the bytes; a tag without a stated one gets
    /// sha256.
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
        do {
            let manifest = try Manifest.decode(body, contentType: contentType)
            let unread = manifest.unreadCount
            return Verified(
                bytes: body, digest: actual, mediaType: manifest.mediaType, blobs: manifest.ownBlobs.map(\.digest),
                unread: unread > 0 ? "descriptors without a known digest: \(unread)" : nil)
        } catch {
            // A digest vouches for bytes that cannot be read; an error page comes without one.
            guard expected != nil, let type = contentType.flatMap({ MediaType($0) }) else { throw error }
            return Verified(bytes: body, digest: actual, mediaType: type, blobs: [], unread: error.message)
        }
    }
}

extension UpstreamRequest {
    /// A manifest request: every type is asked for always, and what else the client named.
    static func manifest(_ method: Method, _ reference: Reference, _ source: PullSource) -> UpstreamRequest {
        var request = UpstreamRequest(
            method: method, path: "/v2/\(source.repository)/manifests/\(reference)", repository: source.repository,
            kind: .manifest)
        request.accept = MediaType.acceptTypes + source.extraAccept
        request.via = source.via
        request.client = source.client
        return request
    }
}
