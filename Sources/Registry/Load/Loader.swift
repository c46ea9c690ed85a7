// Fills the cache from files: lists of references, whose images are pulled, and archives, whose content is stored as it
// is. It runs inside a serving server or alone; present content is left unchanged, and failures are reported at the end
// without stopping the rest.

internal import ImageArchive
internal import OCI

/// One load, from the file names to the report.
package final class Loader {
    /// Concurrent images of lists; `BlobFetches.maximumAtOnce` limits the traffic.
    static let maximumImages = 8
    /// Concurrent files: the disk is the limit, and a second file keeps it busy while the first is hashed.
    static let maximumFiles = 2

    private let context: LoadContext
    private let choices: LoadChoices
    private let onEvent: (LoadEvent) -> Void
    private let blobs: BlobFetches
    private let images = Gate(limit: Loader.maximumImages)
    private let files = Gate(limit: Loader.maximumFiles)
    private var archives: [ObjectIdentifier: ArchiveLoad] = [:]
    private var seen: Set<ImageName> = []
    /// The archive whose image `resolveAs` names.
    private var resolved: String?
    private var counts = LoadProgress()
    private var failures: [LoadFailure] = []
    /// Bytes of finished archives.
    private var endedBytes: Int64 = 0
    /// Files and images that have not ended.
    private var pending = 0
    /// The images of lists among them.
    private var pendingImages = 0
    private var isStopping = false
    private var then: ((LoadReport) -> Void)?

    package init(_ context: LoadContext, _ choices: LoadChoices, onEvent: @escaping (LoadEvent) -> Void) {
        self.context = context
        self.choices = choices
        self.onEvent = onEvent
        blobs = BlobFetches(context)
    }

    package var progress: LoadProgress {
        var progress = counts
        progress.wantedBytes = archives.values.saturatedSum(\.wantedBytes).addingSaturated(endedBytes)
            .addingSaturated(blobs.wantedBytes)
        progress.arrivedBytes = archives.values.saturatedSum(\.arrivedBytes).addingSaturated(endedBytes)
            .addingSaturated(blobs.arrivedBytes)
        return progress
    }

    /// Loads FILES: a file name, a glob, or several of them separated by commas.
    /// - Parameter then: called once at the end of the load.
    package func load(_ text: String, then: @escaping (LoadReport) -> Void) {
        self.then = then
        pending = 1
        context.store.beginUsingProofs()
        let directory = choices.directory
        context.offload.run {
            try FileNames.expand(text, in: directory)
        } then: { [self] (result: Result<[String], any Error>) in
            switch result {
            case .success(let names): for name in names { begin(name) }
            case .failure(let error): failed(LoadFailure(file: text, image: nil, reason: expansionReason(error)))
            }
            ended()
        }
    }

    /// Stops soon. Bytes already written of a blob are kept for the next load.
    package func stop() {
        guard !isStopping else { return }
        isStopping = true
        blobs.stop()
        for archive in Array(archives.values) { archive.stop() }
        // An upstream may be silent for a long time, so a stop does not wait for images being fetched.
        pending -= pendingImages
        pendingImages = 0
        context.loop.deferred.enqueue { [self] in endIfDone() }
    }

    /// The reason without the text of the value, which precedes it anyway.
    private func expansionReason(_ error: any Error) -> String {
        switch error {
        case FileNames.Failure.noMatch: "there is no such file, and none matches"
        case FileNames.Failure.empty: "a file name is empty"
        default: "its directories cannot be searched"
        }
    }

    // MARK: Files

    /// - Parameter file: its name as given.
    private func begin(_ file: String) {
        pending += 1
        files.enter { [self] in
            guard !isStopping else { return fileEnded() }
            let (path, platforms) = (FileNames.path(file, in: choices.directory), choices.platforms)
            context.offload.run {
                try OpenedFile(path, platforms)
            } then: { [self] (result: Result<OpenedFile, any Error>) in
                switch result {
                case .failure(let error): refuse(file, path, error)
                case .success(.list(let list)):
                    for name in list.names where !isStopping && seen.insert(name).inserted { begin(name, of: file) }
                    fileEnded()
                case .success(.archive(let archive, let selections)): begin(archive, of: file, selections)
                }
            }
        }
    }

    /// Reports one failure for each invalid line of a list.
    private func refuse(_ file: String, _ path: String, _ error: any Error) {
        if case ImageFileError.list(let error) = error {
            for problem in error.problems {
                // `path:line: reason`, with the given name instead of the path.
                let place = problem.description.dropFirst(path.count)
                failed(LoadFailure(file: file, image: nil, reason: "\(file)\(place)"))
            }
        } else {
            failed(LoadFailure(file: file, image: nil, reason: LoadReason.text(error, of: path)))
        }
        fileEnded()
    }

    private func begin(_ archive: ImageArchive, of file: String, _ selections: [ArchiveLoad.Selected]) {
        guard !isStopping else { return fileEnded() }
        var identity: ObjectIdentifier?
        counts.images += selections.count
        let load = ArchiveLoad(
            archive, selections, context: context, resolve: { [self] in resolve($0, of: file) }
        ) { [self] image, outcome in
            ended(image, of: file, outcome)
        } then: { [self] in
            if let identity, let load = archives.removeValue(forKey: identity) {
                endedBytes = endedBytes.addingSaturated(load.arrivedBytes)
            }
            fileEnded()
        }
        identity = ObjectIdentifier(load)
        archives[ObjectIdentifier(load)] = load
        load.start()
    }

    private func resolve(_ archive: ImageArchive, of file: String) -> Result<ImageName, LoadRefusal> {
        guard let name = choices.resolveAs else {
            return .failure(LoadRefusal("the archive does not say what its image is called; --resolve-ref does"))
        }
        let count = archive.images.count { $0.referrerOf == nil }
        guard count == 1 else {
            return .failure(LoadRefusal("--resolve-ref names one image, and the archive has \(count)"))
        }
        guard resolved == nil else {
            return .failure(LoadRefusal("--resolve-ref names one image, and it is that of \(resolved ?? "")"))
        }
        resolved = file
        return .success(name)
    }

    private func fileEnded() {
        files.leave()
        ended()
    }

    // MARK: Images

    private func begin(_ name: ImageName, of file: String) {
        counts.images += 1
        pending += 1
        pendingImages += 1
        images.enter { [self] in
            guard !isStopping else { return imageEnded() }
            ImageFetch(name, context: context, choices: choices, blobs: blobs) { [self] outcome in
                ended(name.description, of: file, outcome)
                imageEnded()
            }.start()
        }
    }

    private func imageEnded() {
        // Deferred: for a list of present images, direct calls would be one frame deep per image.
        context.loop.deferred.enqueue { [self] in
            images.leave()
            guard !isStopping else { return }
            pendingImages -= 1
            ended()
        }
    }

    private func ended(_ image: String, of file: String, _ outcome: ImageFetch.Outcome) {
        guard then != nil else { return }
        switch outcome {
        case .loaded:
            counts.loaded += 1
            onEvent(.loaded(image: image, file: file))
        case .present:
            counts.present += 1
            onEvent(.present(image: image, file: file))
        case .failed(let reason):
            // An image that was interrupted by a stop has not failed.
            if !isStopping { failed(LoadFailure(file: file, image: image, reason: reason)) }
        }
    }

    private func failed(_ failure: LoadFailure) {
        failures.append(failure)
        if failure.image != nil { counts.failed += 1 }
        onEvent(.failed(failure))
    }

    private func ended() {
        pending -= 1
        endIfDone()
    }

    private func endIfDone() {
        guard pending == 0, let then else { return }
        self.then = nil
        context.store.endUsingProofs()
        then(LoadReport(progress: progress, failures: failures, isStopped: isStopping))
    }
}

/// An opened file; for an archive with the parts to load. Created off the loop.
private enum OpenedFile: Sendable {
    case list(ImageList)
    case archive(ImageArchive, [ArchiveLoad.Selected])

    init(_ path: String, _ platforms: PlatformChoice) throws(ImageFileError) {
        switch try ImageFile.open(path) {
        case .list(let list): self = .list(list)
        case .archive(let archive): self = .archive(archive, archive.selectEach(platforms))
        }
    }
}
