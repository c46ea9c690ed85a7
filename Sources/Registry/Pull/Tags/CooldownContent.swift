// Manifests that are not held back for what they are: signatures, attestations and SBOMs of an image that is served.

internal import OCI

extension Cooldown {
    /// Decides about a manifest that no other one names: it is served if it is about an image that is.
    /// - Parameter source: where the manifest is fetched from if the cache does not have it; nil: nowhere.
    func decideByContent(
        _ digest: Digest, _ scope: CooldownScope, _ cooldown: Int64, _ source: PullSource?,
        _ then: @escaping (CooldownDecision) -> Void
    ) {
        store.findManifest(digest) { [self] found in
            if let found { return examine(found, nil, scope, cooldown, then) }
            let isKnown = store.ledger?.firstSeen(digest) != nil
            guard let source else {
                let error = RegistryError.notCached(manifest: .digest(digest), in: scope.repository)
                return then(isKnown ? .held(hold(digest, cooldown)) : .failed(error))
            }
            // It could only turn out to be a signature, and few pulls are left.
            if isKnown, !source.isExplicit, puller.mustSaveQuota(source.host) {
                puller.countSaved(.manifest, of: source.host)
                return then(.held(hold(digest, cooldown)))
            }
            // The wait begins with the registry's word for it: otherwise a client could let it pass beforehand.
            puller.manifest(.digest(digest), from: source) { [self] result, _ in
                switch result {
                case .success(let manifest):
                    recordFirstSeen(digest)
                    examine(manifest, nil, scope, cooldown, then)
                case .failure(let error): then(isKnown ? .held(hold(digest, cooldown)) : .failed(error))
                }
            }
        }
    }

    /// Decides about a manifest by its content.
    /// - Parameter subject: what it is about by its tag; nil for a manifest that names its subject itself.
    func examine(
        _ manifest: CachedManifest, _ subject: Digest?, _ scope: CooldownScope, _ cooldown: Int64,
        _ then: @escaping (CooldownDecision) -> Void
    ) {
        let held = hold(manifest.digest, cooldown)
        guard manifest.sizeBytes <= Cooldown.maximumReferrerBytes else { return then(.held(held)) }
        let (body, type) = (manifest.sharedBody, manifest.mediaType.text)
        puller.context.offload.run {
            ReferrerContent(try Manifest.decode(body.bytes, contentType: type), body.bytes)
        } then: { [self] (result: Result<ReferrerContent, any Error>) in
            guard case .success(let content) = result, !content.isRunnable, let about = content.subject ?? subject
            else { return then(.held(held)) }
            whenServed(about, scope, cooldown) { [self] isServed in
                guard isServed else { return then(.held(held)) }
                // The entries of an index are decided one by one: anybody can write one.
                admit(manifest.digest, in: scope, namesParts: !manifest.mediaType.isIndex)
                then(.admitted)
            }
        }
    }

    /// Whether an image is served in a repository, by what the cache knows.
    private func whenServed(
        _ digest: Digest, _ scope: CooldownScope, _ cooldown: Int64, then: @escaping (Bool) -> Void
    ) {
        if isOver(digest, cooldown) || store.ledger?.isAdmitted(digest, in: scope.text) == true { return then(true) }
        whenNamed(digest, scope, cooldown, then: then)
    }
}

/// What decides whether a manifest is a signature or the like.
private struct ReferrerContent: Sendable {
    let subject: Digest?
    /// Whether a container runtime might run it.
    let isRunnable: Bool

    /// Runs off the loop.
    init(_ manifest: Manifest, _ bytes: [UInt8]) {
        subject = manifest.subject
        isRunnable = manifest.isRunnable || !ReferrerContent.isUnambiguous(bytes, manifest.mediaType)
    }

    /// Whether every reader finds the same config, layers and subject. Runtimes match the names of members without
    /// regard to case, and take the last of several.
    private static func isUnambiguous(_ bytes: [UInt8], _ type: MediaType) -> Bool {
        let text = bytes.map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }
        var counts = members.map { _ in 0 }
        for index in text.indices {
            switch text[index] {
            // An ASCII letter that is escaped (u0040 to u007F).
            case 0x5C:
                let rest = text[(index + 1)...].prefix(4)
                if rest.starts(with: "u00".utf8), let digit = rest.dropFirst(3).first, (0x34...0x37).contains(digit) {
                    return false
                }
            // U+017F and U+212A are equal to s and k without regard to case.
            case 0xC5 where text[(index + 1)...].first == 0xBF: return false
            case 0xE2 where text[(index + 1)...].starts(with: [0x84, 0xAA]): return false
            case 0x22:
                for (number, member) in members.enumerated() where text[index...].starts(with: member) {
                    counts[number] += 1
                }
            default: break
            }
        }
        let isImage = !type.isIndex && type != .ociArtifact
        let (one, index) = (isImage ? 1 : 0, type.isIndex ? 1 : 0)
        return counts[0] == one && counts[1] == one && counts[2] == index && counts[3] <= 1
    }

    private static let members = ["config", "layers", "manifests", "subject"].map { Array("\"\($0)\"".utf8) }
}

extension Manifest {
    /// Whether a container runtime might run it. The config decides; dockerd takes some types that are no image's for
    /// one. An index has none, and its entries are decided one by one.
    fileprivate var isRunnable: Bool {
        guard !mediaType.isIndex else { return false }
        if layers.contains(where: { $0.mediaType.asciiLowercased.contains("tar") }) { return true }
        guard mediaType != .ociArtifact else { return false }
        let type = (config?.mediaType ?? "").asciiLowercased.split(separator: ";").first ?? ""
        return Manifest.runnableConfigs.contains(String(type.filter { $0 != " " && $0 != "\t" }))
    }

    private static let runnableConfigs: Set<String> = [
        "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json",
        "application/octet-stream", "application/json", "text/html", "",
    ]
}
