// `cooldown` for requests by digest: decided before the endpoint runs, so that what is cached is held back as well.

internal import OCI

extension API {
    /// Whether a request for content by digest is not held back. False while that is being decided: the request is then
    /// answered later.
    func passesCooldown(_ connection: Connection, _ request: Request) throws(RegistryError) -> Bool {
        let reference = request.route.reference
        guard let digest = Digest(ascii: reference) else { return true }
        let isManifest = request.route.kind == .manifest
        if isManifest ? builtin?.manifests[digest] != nil : builtin?.blobs[digest] != nil { return true }
        let passes = request.target.withBytes { name in
            let noTag = UnsafeRawBufferPointer(start: nil, count: 0)
            return name.withText { tags.cooldown.passesAtOnce(digest, TagBytes(name, tag: noTag), $0) }
        }
        guard !passes else { return true }
        let source = try OwnedRequest(request, pseudonym: pseudonym, connection).source
        let head = request.head
        let copy = Array(request.bytes.prefix(head.length))
        let pending = makePendingResponse(connection, source)
        let then: (CooldownDecision) -> Void = { [self] verdict in
            pending.answer { connection in
                switch verdict {
                case .admitted: copy.withUnsafeBytes { resumeContent(connection, head, $0, isDecided: true) }
                case .held(let hold): refuse(connection, hold, isManifest ? .manifest : .blob, "\(digest)")
                case .failed(let error): connection.respond(error)
                }
            }
        }
        if isManifest {
            tags.cooldown.decide(manifest: digest, from: source, mayFetch: !policy.airGapped, then: then)
        } else {
            tags.cooldown.decide(blob: digest, from: source, then: then)
        }
        return false
    }

    /// Refuses what is held back.
    func refuse(_ connection: Connection, _ hold: CooldownHold, _ kind: CooldownKind, _ name: String) {
        metrics.tags.heldBack(kind)
        guard kind != .blob else { return connection.respond(CooldownHold.blobError(hold.digest)) }
        connection.respond(hold.error(name), extra: [(CooldownHold.fieldName, hold.field)])
    }
}
