// The start of ingests, one per key at a time. A second ingest of the same key waits until the first has ended, since
// both would write to the same partial file.

internal import Logging
internal import OCI

extension Store {
    /// Opens the partial file of an earlier ingest of this key and hashes it again, ready to continue. Waits while
    /// another ingest of the key has not ended (including its last job).
    package func beginIngest(_ key: PullKey, then: @escaping (Result<Ingest, StoreError>) -> Void) {
        guard !isClosing else { return loop.deferred.complete(then, .failure(.closed)) }
        if writing[key] != nil {
            writing[key]?.append { self.openPartial(key, then) }
        } else {
            writing[key] = []
            openPartial(key, then)
        }
    }

    /// Starts the next ingest that waits for the key.
    func ingestEnded(_ key: PullKey) {
        guard var waiting = writing[key] else { return }
        guard !waiting.isEmpty else {
            writing[key] = nil
            return
        }
        let next = waiting.removeFirst()
        writing[key] = waiting
        next()
    }

    func makeIngest(_ key: PullKey, _ opened: OpenedPartial, path: String) -> Ingest {
        partialOpened(path, sizeBytes: opened.sizeBytes)
        let file = OpenFile(
            descriptor: opened.descriptor, sizeBytes: opened.sizeBytes, device: opened.device, closingIn: offload)
        let writer = IngestWriter(descriptor: opened.descriptor, path: path, algorithm: key.digest.algorithm)
        return Ingest(store: self, key: key, file: file, writer: writer)
    }

    /// Runs `action` once no removal of a file of this digest is pending.
    func afterPendingRemoval(_ digest: Digest, _ action: @escaping () -> Void) {
        if pendingRemoval[digest] != nil { pendingRemoval[digest]?.append(action) } else { action() }
    }

    private func openPartial(_ key: PullKey, _ then: @escaping (Result<Ingest, StoreError>) -> Void) {
        guard !isClosing else { return failIngest(key, .closed, then) }
        let path = layout.partialFile(key)
        takePartial(path) { [self] in openTaken(key, path, then) }
    }

    private func openTaken(
        _ key: PullKey, _ path: String, _ then: @escaping (Result<Ingest, StoreError>) -> Void
    ) {
        let layout = layout
        perform({ () throws(StoreError) in try OpenedPartial.open(path, layout) }) { [self] result in
            switch result {
            case .failure(let error): failIngest(key, error, then)
            case .success(let opened) where opened.sizeBytes == 0: then(.success(makeIngest(key, opened, path: path)))
            case .success(let opened):
                partialOpened(path, sizeBytes: opened.sizeBytes)
                let file = OpenFile(
                    descriptor: opened.descriptor, sizeBytes: 0, device: opened.device, closingIn: offload)
                let writer = IngestWriter(descriptor: opened.descriptor, path: path, algorithm: key.digest.algorithm)
                rehash(key, file, writer, then)
            }
        }
    }

    /// Hashes a resumed file in steps, each a job of its own.
    private func rehash(
        _ key: PullKey, _ file: OpenFile, _ writer: IngestWriter,
        _ then: @escaping (Result<Ingest, StoreError>) -> Void
    ) {
        guard !isClosing else { return failIngest(key, .closed, then) }
        perform({ () throws(StoreError) in try writer.rehash() }) { [self] result in
            switch result {
            case .success((_, isDone: false)): rehash(key, file, writer, then)
            case .success((let sizeBytes, isDone: true)):
                file.sizeBytes = sizeBytes
                then(.success(Ingest(store: self, key: key, file: file, writer: writer)))
            case .failure(let error):
                logger.error("store: cannot resume \(key.digest), starting again: \(error)")
                openFresh(key, path: writer.path, then)
            }
        }
    }

    private func openFresh(
        _ key: PullKey, path: String, _ then: @escaping (Result<Ingest, StoreError>) -> Void
    ) {
        let layout = layout
        perform({ () throws(StoreError) in try OpenedPartial.openFresh(path, layout) }) { [self] result in
            switch result {
            case .success(let opened): then(.success(makeIngest(key, opened, path: path)))
            case .failure(let error): failIngest(key, error, then)
            }
        }
    }

    private func failIngest(
        _ key: PullKey, _ error: StoreError, _ then: @escaping (Result<Ingest, StoreError>) -> Void
    ) {
        partialEnded(layout.partialFile(key), keptBytes: nil)
        ingestEnded(key)
        then(.failure(error))
    }
}
