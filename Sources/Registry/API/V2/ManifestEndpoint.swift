// GET and HEAD of manifests by digest, and those that have to come from an upstream. TagEndpoint.swift has tags.

internal import Configuration
internal import OCI

extension API {
    func manifest(_ connection: Connection, _ request: Request) throws(RegistryError) {
        let reference = request.route.reference
        if reference.offset(of: 0x3A) != nil {
            guard let digest = Digest(ascii: reference) else {
                throw RegistryError(status: 400, code: .digestInvalid, message: "invalid digest")
            }
            try manifest(connection, request, digest)
        } else {
            guard Reference.isValidTag(reference) else {
                throw RegistryError(status: 400, code: .tagInvalid, message: "invalid tag")
            }
            try manifest(connection, request, tag: reference)
        }
    }

    // MARK: By digest

    private func manifest(_ connection: Connection, _ request: Request, _ digest: Digest) throws(RegistryError) {
        if let cached = builtin?.manifests[digest] { return try answer(connection, request, cached) }
        if let cached = store.manifestAtOnce(digest), isProven(digest, request.target) {
            return try answer(connection, request, cached)
        }
        let owned = try OwnedRequest(request, pseudonym: pseudonym, connection)
        store.findManifest(digest) { [self] found in
            guard let found else { return pull(connection, .digest(digest), owned) }
            whenServable(digest, owned) { [self] isServable in
                guard isServable else { return proveManifest(connection, found, .digest(digest), owned) }
                serve(connection, found, owned)
            }
        }
    }

    /// Answers with a cached manifest.
    func serve(_ connection: Connection, _ manifest: CachedManifest, _ owned: OwnedRequest) {
        completeImage(manifest, owned)
        countHit(owned.source.host)
        send(connection, manifest, owned.conditions, .hit)
    }

    /// The hot path: the manifest is in memory.
    /// - Parameter tag: when the request's tag was checked; nil for a request by digest.
    func answer(
        _ connection: Connection, _ request: Request, _ manifest: CachedManifest, _ tag: RecentAnswers.TagTimes? = nil
    ) throws(RegistryError) {
        if let tag { metrics.tags.served(ageMilliseconds: tags.age(tag.checkedMilliseconds)) }
        if manifest.nextWholeCheckMilliseconds <= loop.nowMilliseconds, !request.isHead {
            completeImage(manifest, try OwnedRequest(request, pseudonym: pseudonym, connection))
        }
        guard request.isConditional else {
            note(
                connection, request, .manifest(.passUnretained(manifest)),
                position: store.manifestCache.position(of: manifest, under: manifest.digest), tag: tag)
            return give(connection, manifest, request.target.host)
        }
        metrics.countCachedPull(request.target.host.namespace(in: metrics))
        send(connection, manifest, request.conditions, .hit)
    }

    /// Answers with a whole manifest from memory.
    @inline(__always)
    func give(_ connection: Connection, _ manifest: CachedManifest, _ host: HostTable.Entry) {
        metrics.countCachedPull(host.namespace(in: metrics))
        store.touch(manifest)
        connection.respond(status: 200, manifest, verdict: .hit)
    }

    func completeImage(_ manifest: CachedManifest, _ owned: OwnedRequest) {
        guard !owned.isHead else { return }
        puller.completeImage(manifest, from: owned.source, fetches: !policy.airGapped)
    }

    /// Sends a manifest, the requested range, or a 304.
    func send(
        _ connection: Connection, _ manifest: CachedManifest, _ conditions: Conditions, _ verdict: Verdict
    ) {
        store.touch(manifest)
        switch conditions.plan(digest: manifest.digest, sizeBytes: Int64(manifest.sizeBytes)) {
        case .whole: connection.respond(status: 200, manifest, verdict: verdict)
        case .part(let range):
            let body = UnsafeRawBufferPointer(
                rebasing: manifest.body[Int(range.lowerBound)...Int(range.upperBound)])
            let fields = ResponseFields.entity(
                contentType: manifest.mediaType.text, digest: manifest.digest, sizeBytes: Int64(manifest.sizeBytes),
                range: (range.lowerBound, range.upperBound))
            connection.respond(
                status: 206, fields: fields, content: .memory(body, owner: manifest), verdict: verdict)
        case .parts(let ranges):
            let parts = MultipartRanges(
                ranges, sizeBytes: Int64(manifest.sizeBytes), partType: manifest.mediaType.text)
            connection.respond(
                parts, digest: manifest.digest, of: .memory(manifest.body, owner: manifest), verdict: verdict)
        case .refused(let error): connection.respond(error)
        case .notModified: notModified(connection, manifest.digest, verdict)
        case .unsatisfiable: unsatisfiable(connection, Int64(manifest.sizeBytes), verdict)
        }
    }

    func notModified(_ connection: Connection, _ digest: Digest, _ verdict: Verdict) {
        connection.respond(status: 304, fields: ResponseFields.notModified(digest: digest), verdict: verdict)
    }

    func unsatisfiable(_ connection: Connection, _ sizeBytes: Int64, _ verdict: Verdict) {
        connection.respond(status: 416, fields: ResponseFields.unsatisfiable(sizeBytes: sizeBytes), verdict: verdict)
    }

    // MARK: Misses

    /// - Parameter tagPolicy: that of a tag while policies have a cooldown: what it means is admitted.
    func pull(
        _ connection: Connection, _ reference: Reference, _ owned: OwnedRequest, tagPolicy: TagPolicy? = nil
    ) {
        if policy.airGapped {
            return connection.respond(.notCached(manifest: reference, in: owned.source.repository))
        }
        if let error = puller.rememberedError(reference, from: owned.source, isHead: owned.isHead) {
            return connection.respond(error)
        }
        let pending = makePendingResponse(connection, owned.source)
        if owned.isHead {
            forwardHead(pending, reference, owned, tagPolicy)
        } else {
            pullManifest(pending, reference, owned, tagPolicy)
        }
    }

    /// - Parameter forwarded: the request's tally, when it has been counted already.
    private func pullManifest(
        _ pending: PendingResponse, _ reference: Reference, _ owned: OwnedRequest, _ tagPolicy: TagPolicy?,
        _ forwarded: PullTally? = nil
    ) {
        let isJoined = puller.isPulling(reference, from: owned.source)
        let tally = forwarded ?? countPull(owned.source, isJoined: isJoined)
        puller.manifest(reference, from: owned.source) { [self] result, joined in
            countEnd(tally)
            if case .success(let manifest) = result {
                admit(manifest.digest, by: reference, tagPolicy, owned)
                completeImage(manifest, owned)
                if !joined { puller.prefetchReferrers(of: manifest, from: owned.source) }
            }
            pending.answer { connection in
                switch result {
                case .success(let manifest):
                    countServed(tally)
                    send(connection, manifest, owned.conditions, joined ? .joined : .miss)
                case .failure(let error): connection.respond(error)
                }
            }
        }
    }

    /// Admits what a tag without a cooldown means.
    private func admit(_ digest: Digest, by reference: Reference, _ tagPolicy: TagPolicy?, _ owned: OwnedRequest) {
        guard let tagPolicy, let scope = owned.cooldownScope, case .tag = reference else { return }
        tags.cooldown.tagServes(digest, tagPolicy, scope)
    }

    private func forwardHead(
        _ pending: PendingResponse, _ reference: Reference, _ owned: OwnedRequest, _ tagPolicy: TagPolicy?
    ) {
        let head = UpstreamRequest.manifest(.head, reference, owned.source)
        let tally = countPull(owned.source, isJoined: puller.isAsking(head, from: owned.source))
        puller.manifestHead(reference, from: owned.source) { [self] result in
            switch result {
            case .failure(let error) where error.mayConcernHeadOnly:
                pullManifest(pending, reference, owned, tagPolicy, tally)
            case .failure(let error):
                countEnd(tally)
                pending.answer { $0.respond(error) }
            case .success(let entity):
                if let digest = entity.digest { admit(digest, by: reference, tagPolicy, owned) }
                forwardHead(pending, entity, reference, owned, tagPolicy, tally)
            }
        }
    }

    /// Forwards the upstream's HEAD response when it is complete enough for a client; otherwise pulls the manifest,
    /// since an upstream that omits fields on HEAD sends them on GET.
    private func forwardHead(
        _ pending: PendingResponse, _ entity: UpstreamEntity, _ reference: Reference, _ owned: OwnedRequest,
        _ tagPolicy: TagPolicy?, _ tally: PullTally
    ) {
        var digest = entity.digest
        if case .digest(let known) = reference { digest = known }
        guard let digest, let sizeBytes = entity.sizeBytes, sizeBytes > 0,
            let type = entity.contentType.flatMap({ MediaType($0) })
        else { return pullManifest(pending, reference, owned, tagPolicy, tally) }
        countEnd(tally)
        pending.answer { connection in
            countServed(tally)
            sendHead(connection, entity, digest, sizeBytes, type, owned, tally.isJoined ? .joined : .miss)
        }
    }

    private func sendHead(
        _ connection: Connection, _ entity: UpstreamEntity, _ digest: Digest, _ sizeBytes: Int64, _ type: MediaType,
        _ owned: OwnedRequest, _ verdict: Verdict
    ) {
        guard sizeBytes <= Int64(Manifest.maximumSizeBytes) else {
            return connection.respond(
                RegistryError(status: 502, code: .sizeInvalid, message: "the upstream's manifest is larger than 4 MiB"))
        }
        if let claimed = entity.digest, claimed != digest, claimed.algorithm == digest.algorithm {
            return connection.respond(
                RegistryError(
                    status: 502, code: .digestInvalid,
                    message: "the upstream names another digest than the one asked for"))
        }
        if case .notModified = owned.conditions.plan(digest: digest, sizeBytes: sizeBytes) {
            return notModified(connection, digest, verdict)
        }
        let fields = ResponseFields.entity(contentType: type.text, digest: digest, sizeBytes: sizeBytes)
        connection.respond(status: 200, fields: fields, verdict: verdict)
    }
}
