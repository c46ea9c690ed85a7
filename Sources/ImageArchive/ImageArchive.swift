// An image archive on disk: what images are in it, and which of their parts to take. The blobs themselves are read by
// `BlobReader`. Everything here may block for as long as it takes to read the file, so it runs off the loop; what it
// gives are values.

package import OCI

/// A `docker save` tarball or an OCI layout, as a tarball or a directory, compressed by gzip or zstd or not at all.
package struct ImageArchive: Sendable {
    package enum Kind: Sendable {
        /// `manifest.json` and files; the manifests are made here.
        case dockerSave
        /// `index.json` and blobs; what newer dockers save is one as well.
        case ociLayout
    }

    /// As the caller gave it.
    package let path: String
    package let kind: Kind
    /// In the archive's order.
    package let images: [ArchivedImage]
    package let manifests: [Digest: ArchivedManifest]

    let place: ArchiveContents.Place
    /// Files by digest, and their sizes.
    private let blobs: [Digest: (name: String, sizeBytes: Int64)]

    /// Reads what is in it. Of the blobs only names and sizes are looked at, except for compressed layers in a `docker
    /// save` tarball, which have to be hashed to be described.
    package static func open(
        _ path: String, limits: ArchiveLimits = ArchiveLimits()
    ) throws(ArchiveError) -> ImageArchive {
        try ImageArchive(ArchiveContents(path: path, limits: limits))
    }

    private init(_ read: ArchiveContents) throws(ArchiveError) {
        var contents = read
        path = contents.place.path
        place = contents.place
        // Directories are looked at for a layout's names only.
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

    /// What newer dockers save is a layout whose `index.json` may leave out names; `manifest.json` beside it has them,
    /// by the config that an image has.
    private static func named(_ layout: LayoutImages, _ saved: [SavedImage]) -> [ArchivedImage] {
        var names: [Digest: [ImageName]] = [:]
        for image in saved {
            if let digest = EntryName.digest(image.config) { names[digest, default: []] += DockerSave.names(image) }
        }
        return layout.images.map { image in
            guard image.names.isEmpty, let config = layout.manifests[image.top]?.blobs.first?.digest,
                let found = names[config]
            else { return image }
            return ArchivedImage(names: found, label: image.label, top: image.top, platform: image.platform)
        }
    }

    /// The file of a digest.
    func file(_ digest: Digest) -> (name: String, sizeBytes: Int64)? { blobs[digest] }
}

extension ImageArchive {
    /// What to store of every image. Where several images have one name, as when a tool lists each platform's image in
    /// `index.json` itself, the platform chooses.
    package func select(_ platforms: PlatformChoice) throws(ArchiveError) -> [ImageSelection] {
        var selections: [ImageSelection] = []
        for each in selectEach(platforms) { selections.append(try each.selection.get()) }
        return selections
    }

    /// The same with what is wrong told for each image, so that one cannot hold up the others.
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

    /// The one of several images that a name means.
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

    /// What to store of one image.
    ///
    /// An index is kept as it is, byte for byte, whichever platforms are wanted and whatever of it the archive holds:
    /// so its digest is the registry's, and a client of a platform that is not here is led to ask for that manifest,
    /// which then comes from the upstream. A plain manifest is taken for what it is, whatever it runs on.
    /// - Throws: `noPlatform` when an index has nothing to run for the platform; `missing` or `wrongSize` for a config
    ///   or layer of a manifest that is wanted.
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
