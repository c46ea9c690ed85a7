// GET and HEAD of blobs. A stored blob and one that is being pulled are sent in the same way: as a file, up to a limit.
// Exceptions are blobs of unknown size, which are sent in chunks, and blobs that pass through (Pull/PassingPulls).

internal import OCI

extension API {
    /// Every blob is sent as bytes, whatever type its descriptor states.
    static let blobContentType = "application/octet-stream"

    func blob(_ connection: Connection, _ request: Request) throws(RegistryError) {
        guard let digest = Digest(ascii: request.route.reference) else {
            throw RegistryError(status: 400, code: .digestInvalid, message: "invalid digest")
        }
        if let bytes = builtin?.blobs[digest] { return send(connection, bytes, digest, request.conditions) }
        if puller.mayCompleteImage(digest), !request.isHead, !policy.airGapped {
            let owned = try OwnedRequest(request, pseudonym: pseudonym, connection)
            puller.layerRequested(digest, from: owned.source)
        }
        guard isProven(digest, request.target) else {
            return blobWithoutProof(connection, digest, try OwnedRequest(request, pseudonym: pseudonym, connection))
        }
        if !request.isConditional {
            if let blob = store.smallBlob(digest, fields: { API.blobFields($0, $1) }) {
                note(
                    connection, request, .blob(.passUnretained(blob)),
                    position: store.smallBlobs.position(of: blob, under: digest), digest: digest)
                return give(connection, blob)
            }
            if let file = store.blobAtOnce(digest) {
                let fields = API.wholeFields(file, digest)
                store.touch(file, digest)
                note(
                    connection, request, .file(.passUnretained(file)),
                    position: store.openFiles.position(of: file, under: digest), digest: digest)
                return connection.respond(file: file, fields: fields, verdict: .hit) {
                    pullInstead(connection, digest, request)
                }
            }
        }
        let owned = try OwnedRequest(request, pseudonym: pseudonym, connection)
        if let file = store.blobAtOnce(digest) { return send(connection, file, digest, owned) }
        store.findBlob(digest) { [self] file in
            if let file { return send(connection, file, digest, owned) }
            pull(connection, digest, owned)
        }
    }

    /// The retry for a cached blob that turns out to be damaged: the store has removed it, so it is a miss.
    func pullInstead(_ connection: Connection, _ digest: Digest, _ request: Request) -> Connection.Retry {
        do throws(RegistryError) {
            let owned = try OwnedRequest(request, pseudonym: pseudonym, connection)
            return { [self] in pull($0, digest, owned) }
        } catch {
            return { $0.respond(error) }
        }
    }

    // MARK: Hits

    /// Answers with a whole blob from memory.
    @inline(__always)
    func give(_ connection: Connection, _ blob: CachedBlob) {
        store.touch(blob, blob.digest)
        connection.respond(status: 200, blob, verdict: .hit)
    }

    func send(_ connection: Connection, _ file: OpenFile, _ digest: Digest, _ owned: OwnedRequest) {
        send(connection, file, digest, owned.conditions) { { [self] in pull($0, digest, owned) } }
    }

    /// - Parameter retry: creates the response for a damaged file.
    func send(
        _ connection: Connection, _ file: OpenFile, _ digest: Digest, _ conditions: Conditions,
        orElse retry: @escaping () -> Connection.Retry
    ) {
        store.touch(file, digest)
        switch conditions.plan(digest: digest, sizeBytes: file.sizeBytes) {
        case .whole:
            connection.respond(file: file, fields: API.wholeFields(file, digest), verdict: .hit, orElse: retry)
        case .part(let range):
            connection.respond(
                status: 206, fields: API.blobFields(digest, file.sizeBytes, range),
                content: .file(file, range.lowerBound..<range.upperBound + 1), verdict: .hit, orElse: retry)
        case .parts(let ranges):
            connection.respond(
                API.blobParts(ranges, file.sizeBytes), digest: digest, of: .file(file, 0..<file.sizeBytes),
                verdict: .hit, orElse: retry)
        case .refused(let error): connection.respond(error)
        case .notModified: notModified(connection, digest, .hit)
        case .unsatisfiable: unsatisfiable(connection, file.sizeBytes, .hit)
        }
    }

    func send(_ connection: Connection, _ bytes: Builtin.Blob, _ digest: Digest, _ conditions: Conditions) {
        let size = Int64(bytes.memory.count)
        var range = 0..<bytes.memory.count
        switch conditions.plan(digest: digest, sizeBytes: size) {
        case .notModified: return notModified(connection, digest, .hit)
        case .unsatisfiable: return unsatisfiable(connection, size, .hit)
        case .refused(let error): return connection.respond(error)
        case .parts(let ranges):
            return connection.respond(
                API.blobParts(ranges, size), digest: digest, of: .memory(bytes.memory, owner: bytes), verdict: .hit)
        case .part(let part):
            range = Int(part.lowerBound)..<Int(part.upperBound) + 1
            let content = UnsafeRawBufferPointer(rebasing: bytes.memory[range])
            return connection.respond(
                status: 206, fields: API.blobFields(digest, size, part), content: .memory(content, owner: bytes),
                verdict: .hit)
        case .whole:
            connection.respond(
                status: 200, fields: API.blobFields(digest, size), content: .memory(bytes.memory, owner: bytes),
                verdict: .hit)
        }
    }

    /// The fields of a response with the whole file, made once and kept with it.
    private static func wholeFields(_ file: OpenFile, _ digest: Digest) -> [UInt8] {
        if file.responseFields.isEmpty { file.responseFields = blobFields(digest, file.sizeBytes) }
        return file.responseFields
    }

    static func blobFields(_ digest: Digest, _ sizeBytes: Int64?, _ range: ClosedRange<Int64>? = nil) -> [UInt8] {
        ResponseFields.entity(
            contentType: blobContentType, digest: digest, sizeBytes: sizeBytes,
            range: range.map { ($0.lowerBound, $0.upperBound) })
    }

    private static func blobParts(_ ranges: [ClosedRange<Int64>], _ sizeBytes: Int64) -> MultipartRanges {
        MultipartRanges(ranges, sizeBytes: sizeBytes, partType: blobContentType)
    }

    // MARK: Misses

    func pull(_ connection: Connection, _ digest: Digest, _ owned: OwnedRequest) {
        if policy.airGapped { return connection.respond(.notCached(blob: digest)) }
        if let error = puller.rememberedError(digest, from: owned.source, isHead: owned.isHead) {
            return connection.respond(error)
        }
        let running = puller.growingBlob(owned.source.key(digest))
        if owned.isHead, running?.sizeBytes == nil { return forwardHead(connection, digest, owned) }
        pull(connection, digest, owned, isJoined: running != nil)
    }

    private func pull(_ connection: Connection, _ digest: Digest, _ owned: OwnedRequest, isJoined: Bool) {
        if isJoined { metrics.pulls.joined(.blob) }
        if !isJoined, let size = puller.sizeWithoutRoom(owned.source.key(digest)),
            let range = rangeToPass(owned, digest, size)
        {
            return passRange(makePendingResponse(connection, owned.source), range, digest, size, owned)
        }
        guard let growing = puller.blob(digest, from: owned.source) else {
            return connection.respond(.unavailable("too many pulls are waiting"))
        }
        let pending = makePendingResponse(connection, owned.source)
        growing.whenAnswered { [self] in
            follow(pending, growing, digest, owned, isJoined ? .joined : .miss)
        }
    }

    /// Continues after the upstream has answered or failed.
    func follow(
        _ pending: PendingResponse, _ growing: GrowingBlob, _ digest: Digest, _ owned: OwnedRequest, _ stored: Verdict,
        relaysRanges: Bool = true
    ) {
        let verdict = growing.window == nil ? stored : .bypass
        if case .failed(let error) = growing.phase { return pending.answer { $0.respond(error) } }
        guard let size = growing.sizeBytes else {
            if owned.isHTTP10 {
                guard growing.window == nil else {
                    // The whole would have to wait in memory.
                    return pending.answer { $0.respond(.unavailable("the cache has no room, and HTTP/1.0 no chunks")) }
                }
                // HTTP/1.0 has no chunks, and a close could be taken for the end of the body: the client waits until
                // the blob is complete.
                return WholeWaiter.wait(for: growing) { [self] in follow(pending, growing, digest, owned, verdict) }
            }
            return pending.answer {
                markPassing($0, growing)
                $0.respond(
                    status: 200, fields: API.blobFields(digest, nil), content: .growingChunked(growing),
                    verdict: verdict, orElse: retry(growing, digest, owned))
            }
        }
        if size == 0, !growing.isComplete {
            // An empty body has no last byte to hold back, so the client waits until the digest has been verified.
            return WholeWaiter.wait(for: growing) { [self] in follow(pending, growing, digest, owned, verdict) }
        }
        if relaysRanges, growing.window != nil, let range = rangeToPass(owned, digest, size) {
            return passRange(pending, range, digest, size, owned)
        }
        pending.answer { send($0, growing, size, digest, owned, verdict) }
    }

    private func send(
        _ connection: Connection, _ growing: GrowingBlob, _ size: Int64, _ digest: Digest, _ owned: OwnedRequest,
        _ verdict: Verdict
    ) {
        markPassing(connection, growing)
        let conditions = owned.conditions
        switch conditions.plan(digest: digest, sizeBytes: size) {
        case .whole: sendWhole(connection, growing, size, digest, verdict, orElse: retry(growing, digest, owned))
        // A set's ranges may be in any order, but passing bytes come only in order.
        case .parts where growing.window != nil:
            sendWhole(connection, growing, size, digest, verdict, orElse: retry(growing, digest, owned))
        case .part(let range):
            connection.respond(
                status: 206, fields: API.blobFields(digest, size, range),
                content: .growing(
                    growing, range.lowerBound..<range.upperBound + 1, readsAhead: !conditions.isOpenEnded),
                verdict: verdict, orElse: retry(growing, digest, owned))
        case .parts(let ranges):
            connection.respond(
                API.blobParts(ranges, size), digest: digest, of: .growing(growing, 0..<size, readsAhead: true),
                verdict: verdict)
        case .refused(let error): connection.respond(error)
        case .notModified: notModified(connection, digest, verdict)
        case .unsatisfiable: unsatisfiable(connection, size, verdict)
        }
    }

    private func retry(
        _ growing: GrowingBlob, _ digest: Digest, _ owned: OwnedRequest
    ) -> () -> Connection.Retry {
        {
            // A window that has moved on cannot be read from the beginning: the client gets a transfer of its own.
            growing.window == nil
                ? { $0.respond(.unavailable("the content cannot be read now")) }
                : { [self] in pull($0, digest, owned, isJoined: false) }
        }
    }

    private func sendWhole(
        _ connection: Connection, _ growing: GrowingBlob, _ size: Int64, _ digest: Digest, _ verdict: Verdict,
        orElse retry: () -> Connection.Retry
    ) {
        connection.respond(
            status: 200, fields: API.blobFields(digest, size), content: .growing(growing, 0..<size, readsAhead: false),
            verdict: verdict, orElse: retry)
    }

    private func forwardHead(_ connection: Connection, _ digest: Digest, _ owned: OwnedRequest) {
        let pending = makePendingResponse(connection, owned.source)
        puller.head(.blob(.head, digest, owned.source), from: owned.source) { [self] result in
            pending.answer { connection in
                switch result {
                // A link made for a GET refuses a HEAD: the pull finds the size that the HEAD did not give.
                case .failure(let error) where error.mayConcernHeadOnly:
                    pullForHead(connection, digest, owned)
                case .failure(let error): connection.respond(error)
                case .success(let entity):
                    guard let size = entity.sizeBytes else { return pullForHead(connection, digest, owned) }
                    if case .notModified = owned.conditions.plan(digest: digest, sizeBytes: size) {
                        return notModified(connection, digest, .miss)
                    }
                    connection.respond(status: 200, fields: API.blobFields(digest, size), verdict: .miss)
                }
            }
        }
    }

    /// Answers a HEAD by a pull; a request for the same blob may have brought it into the store meanwhile.
    private func pullForHead(_ connection: Connection, _ digest: Digest, _ owned: OwnedRequest) {
        if !store.requiresProofs, let file = store.blobAtOnce(digest) { return send(connection, file, digest, owned) }
        pull(connection, digest, owned, isJoined: puller.growingBlob(owned.source.key(digest)) != nil)
    }
}

/// Waits until a growing blob is whole, or has failed.
private final class WholeWaiter: GrowingReader {
    private let growing: GrowingBlob
    private let then: () -> Void

    private init(_ growing: GrowingBlob, _ then: @escaping () -> Void) {
        self.growing = growing
        self.then = then
    }

    static func wait(for growing: GrowingBlob, then: @escaping () -> Void) {
        WholeWaiter(growing, then).growingBlobAdvanced()
    }

    func growingBlobAdvanced() {
        switch growing.phase {
        case .asking, .growing: growing.park(self)
        case .complete, .failed: then()
        }
    }
}
