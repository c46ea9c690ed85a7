// Loads one archive: its images' blobs first, in one pass, then each image's manifests, children before the indexes
// that list them, then its names. So an interrupted load leaves no name whose content is missing.

internal import ImageArchive
internal import OCI

/// Loads the images of one archive. It keeps itself alive until it has ended.
final class ArchiveLoad {
    /// An image with its parts to store, or the error that prevents it.
    typealias Selected = (image: ArchivedImage, selection: Result<ImageSelection, ArchiveError>)

    /// An image to store, and its names.
    private struct Work {
        let names: [ImageName]
        let selection: ImageSelection

        /// Its name in messages.
        var label: String { names.map(\.description).joined(separator: ", ") }
    }

    private let archive: ImageArchive
    private let context: LoadContext
    private let selections: [Selected]
    /// The name for an image without one; an error when there is none to give.
    private let resolve: (ImageArchive) -> Result<ImageName, LoadRefusal>
    private let onImage: (_ image: String, ImageFetch.Outcome) -> Void
    private let then: () -> Void
    private var works: [Work] = []
    private var intake: BlobIntake?
    /// Blobs to read, each for one of its names.
    private var missing: [Digest: PullKey] = [:]
    /// Blobs that are not in the cache.
    private var absent: Set<Digest> = []
    private(set) var wantedBytes: Int64 = 0
    private var isStopping = false

    var arrivedBytes: Int64 { intake?.arrivedBytes ?? 0 }

    init(
        _ archive: ImageArchive,
        _ selections: [Selected], context: LoadContext,
        resolve: @escaping (ImageArchive) -> Result<ImageName, LoadRefusal>,
        onImage: @escaping (_ image: String, ImageFetch.Outcome) -> Void, then: @escaping () -> Void
    ) {
        self.archive = archive
        self.context = context
        self.selections = selections
        self.resolve = resolve
        self.onImage = onImage
        self.then = then
    }

    func stop() {
        isStopping = true
        intake?.stop()
    }

    func start() {
        for (image, selection) in selections {
            switch selection {
            case .failure(let error): onImage(shown(image), .failed(LoadReason.text(error, of: archive.path)))
            case .success(let selection):
                switch names(of: image) {
                case .failure(let refusal): onImage(shown(image), .failed(refusal.reason))
                case .success(let names): works.append(Work(names: names, selection: selection))
                }
            }
        }
        findMissing()
    }

    private func shown(_ image: ArchivedImage) -> String {
        image.names.first?.description ?? image.label ?? "\(image.top)"
    }

    /// The name for the archive's only image when it has none, or why there is none.
    private lazy var resolved = resolve(archive)

    private func names(of image: ArchivedImage) -> Result<[ImageName], LoadRefusal> {
        if let top = image.referrerOf, let owner = archive.images.first(where: { $0.top == top }) {
            // A signature belongs to the repositories of its image.
            return names(of: owner).map { names in
                let all = names.map {
                    ImageName(host: $0.host, repository: $0.repository, tag: nil, digest: image.top)
                }
                return all.enumerated().filter { index, name in !all[..<index].contains(name) }.map(\.element)
            }
        }
        let names = image.names.isEmpty ? resolved.map { [$0] } : .success(image.names)
        return names.flatMap { names in
            if let wrong = names.first(where: { $0.digest != nil && $0.digest != image.top }) {
                return .failure(LoadRefusal("the archive's image is \(image.top), and cannot be \(wrong)"))
            }
            return .success(names)
        }
    }

    // MARK: Blobs

    /// Finds the blobs to read: those that the cache does not have, and those that it has from elsewhere. The archive
    /// proves a name only by the content itself.
    private func findMissing() {
        var blobs: [Digest: Descriptor] = [:]
        var keys: [Digest: [PullKey]] = [:]
        for work in works {
            for blob in work.selection.blobs {
                blobs[blob.digest] = blob
                keys[blob.digest, default: []] += work.names.map {
                    PullKey(host: $0.host, repository: $0.repository, digest: blob.digest)
                }
            }
        }
        var unknown = keys.count
        guard unknown > 0 else { return read() }
        for (digest, blob) in blobs {
            context.store.hasBlob(blob) { [self] isPresent in
                if !isPresent { absent.insert(digest) }
                isProven(isPresent ? keys[digest, default: []][...] : []) { [self] isProven in
                    if !isPresent || !isProven {
                        missing[digest] = keys[digest]?.first
                        wantedBytes = wantedBytes.addingSaturated(blob.sizeBytes ?? 0)
                    }
                    unknown -= 1
                    if unknown == 0 { read() }
                }
            }
        }
    }

    /// Whether content may be served under all names.
    private func isProven(_ keys: ArraySlice<PullKey>, then: @escaping (Bool) -> Void) {
        guard let key = keys.first else { return then(true) }
        context.store.whenProofKnown(key.digest, host: key.host, repository: key.repository) { [self] isKnown in
            guard isKnown else { return then(false) }
            isProven(keys.dropFirst(), then: then)
        }
    }

    private func read() {
        let intake = BlobIntake(archive, wanted: missing, context: context) { [self] failures in
            self.works.reverse()
            storeNext(failures)
        }
        self.intake = intake
        if isStopping { intake.stop() }
        intake.start()
    }

    // MARK: Manifests and names

    private func storeNext(_ failures: [Digest: String]) {
        guard let work = works.popLast() else { return then() }
        if let blob = work.selection.blobs.first(where: { failures[$0.digest] != nil }) {
            onImage(work.label, .failed(failures[blob.digest] ?? ""))
            return storeNext(failures)
        }
        isPresent(work) { [self] wasPresent in
            store(work.selection.manifests[...]) { [self] error in
                guard error == nil else { return ended(work, error, wasPresent, true, failures) }
                setNames(work.names[...], to: work.selection.image.top) { [self] error in
                    isWhole(work) { [self] isWhole in ended(work, error, wasPresent, isWhole, failures) }
                }
            }
        }
    }

    /// Whether an image's blobs are still in the store: when reading a large archive takes long, a prune may remove its
    /// blobs, which no manifest needs yet, once they are old enough.
    private func isWhole(_ work: Work, then: @escaping (Bool) -> Void) {
        var unknown = work.selection.blobs.count
        var isWhole = true
        guard unknown > 0 else { return then(true) }
        for blob in work.selection.blobs {
            context.store.hasBlob(blob) { isPresent in
                if !isPresent { isWhole = false }
                unknown -= 1
                if unknown == 0 { then(isWhole) }
            }
        }
    }

    private func ended(
        _ work: Work, _ error: StoreError?, _ wasPresent: Bool, _ isWhole: Bool, _ failures: [Digest: String]
    ) {
        let outcome: ImageFetch.Outcome
        if let error {
            outcome = .failed("\(error)")
        } else if !isWhole {
            outcome = .failed("parts of it were pruned while it was loaded; load it again")
        } else {
            outcome = wasPresent ? .present : .loaded
        }
        guard error == nil, isWhole else { return ended(work, outcome, failures) }
        noteReferrers(work)
        for name in work.names {
            // What the operator has brought is not held back (`cooldown`).
            let repository = "\(name.host)/\(name.repository)"
            context.store.record(.exempt(work.selection.image.top, repository: repository))
        }
        addProofs(work) { [self] in ended(work, outcome, failures) }
    }

    private func ended(_ work: Work, _ outcome: ImageFetch.Outcome, _ failures: [Digest: String]) {
        onImage(work.label, outcome)
        // Deferred: for an archive of ten thousand present images, direct calls would be as many frames deep.
        context.loop.deferred.enqueue { self.storeNext(failures) }
    }

    /// Records that the names have the content: the operator says so by the archive, whose content has been read.
    /// - Parameter then: called later, when the proofs count.
    private func addProofs(_ work: Work, then: @escaping () -> Void) {
        let content =
            work.selection.manifests.map(\.digest) + work.selection.blobs.map(\.digest).filter { missing[$0] != nil }
        var pending = content.count * work.names.count
        guard pending > 0 else { return then() }
        for name in work.names {
            for digest in content {
                context.store.addProof(digest, host: name.host, repository: name.repository) {
                    pending -= 1
                    if pending == 0 { then() }
                }
            }
        }
    }

    /// The operator says by the archive which referrers its images have: those that came with them, which the cache
    /// has now. The upstream is asked again as soon as it can be. A docker-save tarball cannot have referrers, and says
    /// nothing about them.
    private func noteReferrers(_ work: Work) {
        guard archive.kind != .dockerSave else { return }
        for name in work.names {
            for manifest in work.selection.manifests {
                let list = ListName(
                    host: name.host, repository: name.repository, kind: .referrers(manifest.digest))
                context.store.findList(list) { [context] kept in
                    if kept == nil { context.store.putList(list, KeptList(checkedAtSeconds: 0, pages: [])) }
                }
            }
        }
    }

    /// Whether all of an image, its names included, is in the cache.
    private func isPresent(_ work: Work, then: @escaping (Bool) -> Void) {
        guard work.selection.blobs.allSatisfy({ !absent.contains($0.digest) }) else { return then(false) }
        var unknown = work.names.count
        var isPresent = true
        for name in work.names {
            context.findImage(name) { found in
                if found?.digest != work.selection.image.top { isPresent = false }
                unknown -= 1
                if unknown == 0 { then(isPresent) }
            }
        }
    }

    private func store(_ manifests: ArraySlice<ArchivedManifest>, then: @escaping (StoreError?) -> Void) {
        guard let manifest = manifests.first else { return then(nil) }
        context.store.putManifest(
            manifest.bytes, digest: manifest.digest, mediaType: manifest.mediaType,
            blobs: manifest.blobs.map(\.digest)
        ) { [self] result in
            if case .failure(let error) = result { return then(error) }
            store(manifests.dropFirst(), then: then)
        }
    }

    private func setNames(_ names: ArraySlice<ImageName>, to top: Digest, then: @escaping (StoreError?) -> Void) {
        guard let name = names.first else { return then(nil) }
        context.setName(name, to: top) { [self] error in
            if let error { return then(error) }
            setNames(names.dropFirst(), to: top, then: then)
        }
    }
}

/// Why something is not loaded, as text for people.
struct LoadRefusal: Error {
    let reason: String
    init(_ reason: String) { self.reason = reason }
}
