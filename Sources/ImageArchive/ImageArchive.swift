// An image archive on disk: its images, and the selection of the parts to store. `BlobReader` reads the blobs. Opening
// may block as long as reading the file takes, so it runs off the loop and returns values.

package import OCI

/// A `docker save` tarball or an OCI layout, as a tarball or a directory, compressed by gzip, zstd or not at all.
package struct ImageArchive: Sendable {
    package enum Kind: Sendable {
        /// `manifest.json` and files; the manifests are created here.
        case dockerSave
        /// `index.json` and blobs; newer dockers save this form too.
        case ociLayout
    }

    /// The path as the caller gave it.
    package let path: String
    package let kind: Kind
    /// In the archive's order.
    package let images: [ArchivedImage]
    package let manifests: [Digest: ArchivedManifest]

    let place: ArchiveContents.Place
    /// Files by digest, and their sizes.
    private let blobs: [Digest: (name: String, sizeBytes: Int64)]

    /// Reads the archive's contents. For blobs only names and sizes are read, except for compressed layers in a `docker
    /// save` tarball, which have to be hashed.
    package static func open(
        _ path: String, limits: ArchiveLimits = ArchiveLimits()
    ) throws(ArchiveError) -> ImageArchive {
        try ImageArchive(ArchiveContents(path: path, limits: limits))
    }

    private init(_ read: ArchiveContents) throws(ArchiveError) {
        var contents = read
        path = contents.place.path
        place = contents.place
        // For a directory, only the names of a layout are listed.
        let hasList = contents.file("manifest.json") != nil
        guard contents.entries["index.json"] != nil || contents.entries["manifest.json"] != nil else {
            throw ArchiveError(path, .notAnImage("neither index.json nor manifest.json is in it"))
        }
        if contents.entries["index.json"] != nil {
            _ = try contents.name(of: "index.json")
            let layout = try LayoutImages(contents)
            if !layout.images.isEmpty || !hasList {
                contents = layout.contents
                kind = .ociLayout
                manifests = layout.manifests
                images =
                    hasList ? ImageArchive.named(layout, try DockerSave.list(&contents)) : layout.images
                guard !images.isEmpty else { throw ArchiveError(path, .notAnImage("index.json lists no image")) }
                blobs = contents.entries.reduce(into: [:]) { blobs, entry in
                    if entry.value.kind == .file, let digest = EntryName.digest(entry.key) {
                        blobs[digest] = (entry.key, entry.value.sizeBytes)
                    }
                }
                return
            }
        }
        _ = try contents.name(of: "manifest.json")
        let saved = try DockerSave(contents)
        guard !saved.images.isEmpty else { throw ArchiveError(path, .notAnImage("manifest.json lists no image")) }
        kind = .dockerSave
        manifests = saved.manifests
        images = saved.images
        blobs = saved.places.compactMapValues { name in saved.contents.file(name).map { (name, $0.sizeBytes) } }
    }

    /// Adds the names of `manifest.json`, matched by an image's config: a layout saved by a newer docker may leave them
    /// out of `index.json`.
    private static func named(_ layout: LayoutImages, _ saved: [SavedImage]) -> [ArchivedImage] {
        var names: [Digest: [ImageName]] = [:]
        for image in saved {
            if let digest = EntryName.digest(image.config) { names[digest, default: []] += DockerSave.names(image) }
        }
        return layout.images.map { image in
            guard image.names.isEmpty, let config = layout.manifests[image.top]?.blobs.first?.digest,
                let found = names[config]
            else { return image }
            return ArchivedImage(
                names: found, label: image.label, top: image.top, platform: image.platform,
                referrerOf: image.referrerOf)
        }
    }

    /// The file of a digest.
    func file(_ digest: Digest) -> (name: String, sizeBytes: Int64)? { blobs[digest] }
}

extension ImageArchive {
    /// The parts of every image to store. When several images share a name, as when a tool lists each platform's image
    /// in `index.json` itself, the platform decides.
    package func select(_ platforms: PlatformChoice) throws(ArchiveError) -> [ImageSelection] {
        var selections: [ImageSelection] = []
        for each in selectEach(platforms) { selections.append(try each.selection.get()) }
        return selections
    }

    /// The parts to store, with a separate result for each image, so that one invalid image does not affect the others.
    package func selectEach(
        _ platforms: PlatformChoice
    ) -> [(image: ArchivedImage, selection: Result<ImageSelection, ArchiveError>)] {
        var byName: [ImageName: [ArchivedImage]] = [:]
        for image in images { for name in image.names { byName[name, default: []].append(image) } }
        return images.compactMap { image in
            do throws(ArchiveError) {
                for name in image.names {
                    if try choose(name, byName[name] ?? [], platforms).top != image.top { return nil }
                }
                return (image, .success(try select(image, platforms)))
            } catch {
                return (image, .failure(error))
            }
        }
    }

    /// Chooses one of several images that share a name.
    private func choose(
        _ name: ImageName, _ rivals: [ArchivedImage], _ platforms: PlatformChoice
    ) throws(ArchiveError) -> ArchivedImage {
        if rivals.count == 1 { return rivals[0] }
        let found = rivals.compactMap(\.platform)
        let wanted = rivals.filter { $0.platform != nil && platforms.accepts($0.platform) }
        if wanted.count == 1 { return wanted[0] }
        if wanted.isEmpty, !found.isEmpty, case .only(let platform) = platforms {
            throw ArchiveError(path, entry: "\(name)", .noPlatform(wanted: platform, found: found))
        }
        throw ArchiveError(
            path, entry: "\(name)", .ambiguous("\(rivals.count) images have this name; choose a platform"))
    }

    /// The parts of one image to store.
    ///
    /// An index is kept byte for byte, regardless of the wanted platforms and of the manifests in the archive: its
    /// digest stays the registry's, and a client of a missing platform requests that manifest, which then comes from
    /// the upstream. A plain manifest is taken whatever its platform.
    /// - Throws: `noPlatform` when an index has no runnable image for the platform; `missing` or `wrongSize` for a
    ///   config or layer of a wanted manifest.
    package func select(
        _ image: ArchivedImage, _ platforms: PlatformChoice
    ) throws(ArchiveError) -> ImageSelection {
        var walk = SelectionWalk(archive: self, platforms: platforms)
        try walk.visit(image.top)
        if manifests[image.top]?.mediaType.isIndex == true, !walk.hasImage {
            let name = image.names.first?.description ?? image.label ?? "\(image.top)"
            if case .only(let platform) = platforms, !walk.refused.isEmpty {
                throw ArchiveError(path, entry: name, .noPlatform(wanted: platform, found: walk.refused))
            }
            if !walk.isEmptyIndex { throw ArchiveError(path, entry: name, .missing) }
        }
        return ImageSelection(image: image, manifests: walk.manifests, blobs: walk.blobs)
    }
}
