// Runs admin commands on an open store: a running server's, or one opened by a sub-command without a server. Patterns
// are matched and responses are formatted in the pool, for any number of images.

package import Configuration
package import OCI

/// Answers the commands that concern the store.
package final class AdminQueries {
    private let store: Store
    /// Whether recently served content may be pruned as well: without a server no client is in the middle of a pull.
    private let ignoresLeases: Bool
    /// The policies of tags, for the ends of waits.
    private let tagPolicies: () -> TagPolicies

    package init(store: Store, ignoresLeases: Bool, tagPolicies: @escaping () -> TagPolicies) {
        self.store = store
        self.ignoresLeases = ignoresLeases
        self.tagPolicies = tagPolicies
    }

    /// The response text of `command`, or an error. Commands that need more than the store do nothing here.
    package func answer(
        _ command: AdminCommand, asJSON: Bool, then: @escaping (Result<[UInt8], RegistryError>) -> Void
    ) {
        switch command {
        case .stop, .reload, .load, .verify, .refresh: then(.success([]))
        case .cooldown(let pattern, let hasHeader): cooldown(pattern, hasHeader, asJSON, then)
        case .approve(let digest): approve(digest, asJSON, then)
        case .prune(let prune): self.prune(prune, asJSON, then)
        case .blobs(let part, let limit):
            blobs(then) { all in
                let picked = all.lazy.filter { blob in part.map { blob.digest.description.contains($0) } ?? true }
                let some = Array(picked.prefix(limit ?? .max))
                return asJSON ? AdminText.json(some) : AdminText.blobs(some)
            }
        case .blobTable(let hasHeader, let isShort):
            blobs(then) { all in
                asJSON ? AdminText.json(all) : AdminText.blobTable(all, hasHeader: hasHeader, isShort: isShort)
            }
        case .manifests(let pattern, let limit):
            images(pattern, limit, asJSON, then) { asJSON ? AdminText.json($0) : AdminText.manifests($0) }
        case .images(let pattern, let blob, let limit):
            images(
                pattern, limit, asJSON, then,
                where: { image in
                    // An index has blobs of its own if it is a build cache.
                    guard !image.mediaType.isIndex || !image.blobs.isEmpty else { return false }
                    return blob.map { part in image.blobs.contains { $0.digest.description.contains(part) } } ?? true
                }, text: { asJSON ? AdminText.json($0) : AdminText.images($0) })
        case .table(let pattern, let hasHeader, let isShort):
            images(pattern, nil, asJSON, then) { images in
                asJSON ? AdminText.json(images) : AdminText.table(images, hasHeader: hasHeader, isShort: isShort)
            }
        }
    }

    /// - Parameter readsProofs: whether the text shows the index of proofs.
    private func images(
        _ pattern: String?, _ limit: Int?, _ readsProofs: Bool,
        _ then: @escaping (Result<[UInt8], RegistryError>) -> Void,
        where isMeant: @escaping @Sendable (CachedImage) -> Bool = { _ in true },
        text: @escaping @Sendable ([CachedImage]) -> String
    ) {
        // Compiled first, so that an invalid pattern costs no work in the store.
        switch AdminQueries.compile(pattern) {
        case .failure(let error): then(.failure(error))
        case .success(let pattern):
            store.images(readsProofs: readsProofs) { images in
                var picked: [CachedImage] = []
                for image in images where isMeant(image) {
                    if let limit, picked.count == limit { break }
                    if try pattern?.matches(image.name) ?? true { picked.append(image) }
                }
                return Array(text(picked).utf8)
            } then: {
                then($0.mapError(AdminQueries.refusal))
            }
        }
    }

    private func blobs(
        _ then: @escaping (Result<[UInt8], RegistryError>) -> Void,
        text: @escaping @Sendable ([BlobEntry]) -> String
    ) {
        store.blobEntries { all in
            Array(text(all).utf8)
        } then: {
            then($0.mapError(AdminQueries.refusal))
        }
    }

    private func prune(
        _ prune: AdminCommand.Prune, _ asJSON: Bool, _ then: @escaping (Result<[UInt8], RegistryError>) -> Void
    ) {
        let now = EventLoop.unixSeconds
        switch AdminQueries.selector(prune.selection, nowSeconds: now) {
        case .failure(let error): then(.failure(error))
        case .success(let selects):
            store.prune(
                selecting: selects, limit: prune.limit, dryRun: prune.isDryRun, ignoringLease: ignoresLeases,
                isForced: prune.isForced, orphanAge: orphanAge(prune.selection, nowSeconds: now),
                reporting: { report in
                    let text = prune.isReport ? AdminText.pruneReport(report) : AdminText.prune(report)
                    return Array((asJSON ? AdminText.json(report) : text).utf8)
                }
            ) {
                then($0.mapError(AdminQueries.refusal))
            }
        }
    }

    // MARK: Cooldown

    private func cooldown(
        _ pattern: String?, _ hasHeader: Bool, _ asJSON: Bool,
        _ then: @escaping (Result<[UInt8], RegistryError>) -> Void
    ) {
        switch AdminQueries.compile(pattern) {
        case .failure(let error): then(.failure(error))
        case .success(let pattern):
            store.waitingTags(policies: tagPolicies()) { tags in
                let picked = try tags.filter { try pattern?.matches($0.name) ?? true }
                return Array((asJSON ? AdminText.json(picked) : AdminText.waiting(picked, hasHeader: hasHeader)).utf8)
            } then: {
                then($0.mapError(AdminQueries.refusal))
            }
        }
    }

    /// Answers when the approval is on the disk.
    private func approve(
        _ digest: Digest, _ asJSON: Bool, _ then: @escaping (Result<[UInt8], RegistryError>) -> Void
    ) {
        store.whenLedgerKnown { [self] in
            let isKnown = store.ledger?.firstSeen(digest) != nil || store.mayHaveManifest(digest)
            store.record(.approved(digest)) { error in
                if let error {
                    let reason = "\(digest) is approved until the server stops; LEDGER cannot be written yet: \(error)"
                    return then(.failure(.unavailable(reason)))
                }
                let note = isKnown ? "" : " (the cache does not know this manifest yet)"
                let text =
                    asJSON
                    ? "{\"approved\":\"\(digest)\",\"isKnown\":\(isKnown)}\n" : "approved \(digest)\(note)\n"
                then(.success(Array(text.utf8)))
            }
        }
    }

    // MARK: Which images

    private static func selector(
        _ selection: AdminCommand.Prune.Selection, nowSeconds: Int64
    ) -> Result<@Sendable (CachedImage) throws -> Bool, RegistryError> {
        switch selection {
        case .accessed(let age):
            let limit = age.before(nowSeconds: nowSeconds)
            return .success { $0.pulledSeconds < limit }
        case .created(let age):
            let limit = age.before(nowSeconds: nowSeconds)
            return .success { $0.createdSeconds < limit }
        case .createdBefore(let seconds): return .success { $0.createdSeconds < seconds }
        case .pattern(let text):
            return compile(text).map { pattern in { image in try pattern?.matches(image.name) ?? false } }
        }
    }

    /// The blobs without a manifest that a selection means: they have ages and no names. Those in use stay, in a forced
    /// prune too: a manifest that names them may be on its way.
    private func orphanAge(_ selection: AdminCommand.Prune.Selection, nowSeconds: Int64) -> OrphanAge? {
        var age = OrphanAge(usedBefore: ignoresLeases ? .max : store.leaseBegin)
        switch selection {
        case .accessed(let time): age.usedBefore = min(age.usedBefore, time.before(nowSeconds: nowSeconds))
        case .created(let time): age.createdBefore = time.before(nowSeconds: nowSeconds)
        case .createdBefore(let seconds): age.createdBefore = seconds
        case .pattern: return nil
        }
        return age
    }

    static func compile(_ text: String?) -> Result<Pattern?, RegistryError> {
        guard let text else { return .success(nil) }
        return Result { () throws(PatternError) in try Pattern(text) }.mapError(refusal)
    }

    /// A pattern that reaches a limit is the client's error; a failure of the disk is not.
    private static func refusal(_ error: any Error) -> RegistryError {
        if let error = error as? RegistryError { return error }
        let isAskers = error is PatternError
        return RegistryError(
            status: isAskers ? 400 : 500, code: isAskers ? .unsupported : .unknown, message: "\(error)")
    }
}
