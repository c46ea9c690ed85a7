// Copies blobs from an archive to the store: the archive is read from front to back, one step per job, and each blob
// goes through an ingest as in a pull. Back-pressure of the ingest delays the next step.

internal import ImageArchive
internal import OCI

/// Reads chosen blobs of one archive into the store. It keeps itself alive until it has ended.
final class BlobIntake {
    /// Most passes over an archive. An invalid blob ends a pass, and the other blobs justify another one; an archive
    /// with this many invalid blobs does not.
    static let maximumPasses = 8

    private let archive: ImageArchive
    private let context: LoadContext
    private let then: ([Digest: String]) -> Void
    /// Blobs still to store, with the repository that needs them.
    private var wanted: [Digest: PullKey]
    private var failures: [Digest: String] = [:]
    private var passes = 0
    private var ingest: Ingest?
    /// Bytes of the current blob that an earlier attempt has written.
    private var toSkip: Int64 = 0
    /// Blobs whose earlier bytes turned out to be different, so that they are written from the start.
    private var begunAnew: Set<Digest> = []
    private var currentBytes: Int64 = 0
    private var endedBytes: Int64 = 0
    private var isStopping = false

    var arrivedBytes: Int64 { endedBytes + currentBytes }

    /// - Parameter then: called with the blobs that could not be stored, and the reasons.
    init(
        _ archive: ImageArchive, wanted: [Digest: PullKey], context: LoadContext,
        then: @escaping ([Digest: String]) -> Void
    ) {
        self.archive = archive
        self.wanted = wanted
        self.context = context
        self.then = then
    }

    func start() { nextPass() }

    /// Stops after the current step; bytes already written of a blob are kept.
    func stop() { isStopping = true }

    private func nextPass() {
        guard !wanted.isEmpty else { return then(failures) }
        guard !isStopping else { return giveUp("stopped") }
        passes += 1
        guard passes <= BlobIntake.maximumPasses else { return giveUp("given up: too much of the archive is wrong") }
        let (archive, digests) = (archive, Set(wanted.keys))
        context.offload.run {
            try BlobReader(archive, blobs: digests)
        } then: { [self] (result: Result<BlobReader, any Error>) in
            switch result {
            case .success(let reader): step(reader)
            case .failure(let error): giveUp(reasonText(error))
            }
        }
    }

    private func giveUp(_ reason: String) {
        for digest in wanted.keys { failures[digest] = reason }
        wanted = [:]
        then(failures)
    }

    private func step(_ reader: BlobReader) {
        guard !isStopping else {
            ingest?.suspend()
            ingest = nil
            return giveUp("stopped")
        }
        context.offload.run {
            try reader.next()
        } then: { [self] (result: Result<BlobReader.Step?, any Error>) in
            switch result {
            case .success(.begin(let digest, let sizeBytes)?): begin(digest, sizeBytes, reader)
            case .success(.bytes(let bytes)?): take(bytes, reader)
            case .success(.end(let digest)?): finish(digest, reader)
            case .success(nil): nextPass()
            case .failure(let error): readingFailed(error)
            }
        }
    }

    private func begin(_ digest: Digest, _ sizeBytes: Int64, _ reader: BlobReader) {
        // The reader returns requested blobs only; one that is no longer wanted is skipped.
        guard let key = wanted[digest] else { return step(reader) }
        currentBytes = 0
        context.store.beginIngest(key) { [self] result in
            switch result {
            case .failure(let error): diskFailed(error)
            case .success(let ingest):
                self.ingest = ingest
                toSkip = ingest.offsetBytes
                ingest.reserve(totalBytes: sizeBytes) { [self] error in
                    if let error { diskFailed(error) } else { step(reader) }
                }
            }
        }
    }

    private func take(_ bytes: [UInt8], _ reader: BlobReader) {
        guard let ingest else { return step(reader) }
        let passed = Int(min(toSkip, Int64(bytes.count)))
        toSkip -= Int64(passed)
        currentBytes += Int64(bytes.count)
        let goesOn = bytes.withUnsafeBytes { ingest.append(UnsafeRawBufferPointer(rebasing: $0[passed...])) }
        if goesOn { return step(reader) }
        ingest.onDrained = { [self] in
            ingest.onDrained = nil
            step(reader)
        }
    }

    /// Verifies and commits a blob. The archive's bytes are verified; a mismatch means that an earlier attempt wrote
    /// different ones.
    private func finish(_ digest: Digest, _ reader: BlobReader) {
        guard let ingest else { return step(reader) }
        ingest.verify { [self] result in
            switch result {
            case .failure(let error): diskFailed(error)
            case .success(true):
                self.ingest = nil
                ingest.commit { [self] result in
                    switch result {
                    case .success:
                        wanted[digest] = nil
                        endedBytes += currentBytes
                        currentBytes = 0
                        step(reader)
                    case .failure(let error): diskFailed(error)
                    }
                }
            case .success(false):
                self.ingest = nil
                ingest.discard()
                currentBytes = 0
                if !begunAnew.insert(digest).inserted { fail(digest, "what the disk has is not what was written") }
                step(reader)
            }
        }
    }

    private func fail(_ digest: Digest, _ reason: String) {
        wanted[digest] = nil
        failures[digest] = reason
    }

    /// Handles a reading error: one blob is invalid, or the archive cannot be read any further.
    private func readingFailed(_ error: any Error) {
        guard let ingest else { return giveUp(reasonText(error)) }
        self.ingest = nil
        fail(ingest.key.digest, reasonText(error))
        ingest.discard()
        currentBytes = 0
        nextPass()
    }

    /// Gives up all blobs, since a disk that refuses one refuses the next.
    private func diskFailed(_ error: StoreError) {
        ingest?.discard()
        ingest = nil
        giveUp("\(error)")
    }

    private func reasonText(_ error: any Error) -> String { LoadReason.text(error, of: archive.path) }
}

/// An error's text without the name of the file, which precedes it anyway.
enum LoadReason {
    static func text(_ error: any Error, of file: String) -> String {
        let text = "\(error)"
        return text.hasPrefix("\(file): ") ? String(text.dropFirst(file.count + 2)) : text
    }
}
