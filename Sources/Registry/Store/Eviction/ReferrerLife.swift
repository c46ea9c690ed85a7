// The life of referrers in the cache: signatures, attestations and SBOMs are seldom requested, and stay as long as the
// images that they are about. They leave with them, unless they have names of their own.

internal import OCI

/// Which images live as long as others.
struct ReferrerLife {
    /// Referrers of referrers; deeper ones live on their own.
    private static let maximumDepth = 4

    private struct Place: Hashable {
        let host: RegistryHost
        let repository: RepositoryName
        let digest: Digest
    }

    /// For each referrer the images that it is about, both by their positions. Such an image is not a key.
    let owners: [Int: [Int]]

    /// - Parameter images: all images of the scan.
    init(_ images: [CachedImage], _ scan: ImageScan) {
        var subjects: [Int: Digest] = [:]
        for (position, image) in images.enumerated() {
            subjects[position] = ReferrerLife.subject(of: image, scan)
        }
        guard !subjects.isEmpty else {
            owners = [:]
            return
        }
        var places: [Place: [Int]] = [:]
        for (position, image) in images.enumerated() {
            let place = Place(host: image.host, repository: image.repository, digest: image.digest)
            places[place, default: []].append(position)
        }
        var found: [Int: [Int]] = [:]
        for position in subjects.keys {
            var level = [position]
            var roots: [Int] = []
            for _ in 0..<ReferrerLife.maximumDepth {
                level = level.flatMap { position -> [Int] in
                    let image = images[position]
                    let next = subjects[position].flatMap {
                        places[Place(host: image.host, repository: image.repository, digest: $0)]
                    }
                    guard let next else {
                        roots.append(position)
                        return []
                    }
                    return next
                }
            }
            // What is left goes round in a circle, or is too deep.
            roots.removeAll { $0 == position }
            if level.isEmpty, !roots.isEmpty { found[position] = roots }
        }
        owners = found
    }

    /// The manifest that an image is about, if it has no name of its own: one pulled by digest whose manifest states
    /// it, or one under a tag that clients keep referrers under.
    private static func subject(of image: CachedImage, _ scan: ImageScan) -> Digest? {
        switch image.reference {
        case .digest: return scan.manifests[image.digest]?.subject
        case .tag(let tag): return ReferrersIndex.subject(ofTag: tag)
        }
    }
}

extension ReferrerLife {
    /// The images that a prune removes. A referrer counts as used and stored as recently as what it is about. It is
    /// removed with that, or by itself where nothing that it is about is pinned.
    /// - Returns: their positions, with the images as they count, and whether each is a referrer.
    func select(
        _ images: [CachedImage], isPinned: (CachedImage) throws -> Bool, selecting: (CachedImage) throws -> Bool
    ) rethrows -> [(position: Int, image: CachedImage, isReferrer: Bool)] {
        var isSelected = Array(repeating: false, count: images.count)
        for position in images.indices where owners[position] == nil {
            isSelected[position] = try selecting(images[position])
        }
        var counted: [Int: CachedImage] = [:]
        for (position, roots) in owners {
            var image = images[position]
            for root in roots {
                image.pulledSeconds = max(image.pulledSeconds, images[root].pulledSeconds)
                image.createdSeconds = max(image.createdSeconds, images[root].createdSeconds)
            }
            counted[position] = image
            if roots.allSatisfy({ isSelected[$0] }) {
                isSelected[position] = true
            } else if try !roots.contains(where: { try isPinned(images[$0]) }) {
                isSelected[position] = try selecting(image)
            }
        }
        return images.indices.compactMap { position in
            guard isSelected[position] else { return nil }
            let image = counted[position]
            return (position, image ?? images[position], image != nil)
        }
    }

    /// When an image was last served, or what it is about.
    func lastUse(_ position: Int, _ images: [CachedImage], _ accessed: DigestMap<Int64>) -> Int64 {
        ([position] + owners[position, default: []]).map { accessed[images[$0].digest] ?? 0 }.max() ?? 0
    }
}
