// The room of an ingest in the budget: reserved at once if the size is known, otherwise in steps as the content grows.
// Bytes without room wait in their buffers, and their sender waits too.

internal import OCI

extension Ingest {
    /// Sizes of the first and largest step for content of unknown size; each step in between doubles the room. A small
    /// blob reserves little more than it needs, and a large one asks seldom.
    static let firstStepBytes: Int64 = 256 * 1024
    static let largestStepBytes: Int64 = 8 << 20
    /// With less room than this no content is begun, since its readers would only get a short body.
    static let leastBytes: Int64 = 64 * 1024

    /// Reserves room for the whole content or, for unknown size (nil), for its beginning; it gets more as it grows.
    /// `then` gets nil, or the error if there is no room (`isNoSpace`).
    package func reserve(totalBytes: Int64?, then: @escaping (StoreError?) -> Void) {
        guard let totalBytes else { return ask(nextStepBytes, atLeast: Ingest.leastBytes, then) }
        let bytes = max(0, totalBytes.subtractingSaturated(offsetBytes).subtractingSaturated(reservedBytes))
        ask(bytes, atLeast: bytes) { [self] error in
            guard error == nil else { return then(error) }
            reserveOnDisk(totalBytes, mayEvict: true, then)
        }
    }

    /// Asks for room for the waiting bytes and some more.
    func grow() {
        ask(max(nextStepBytes, waitingBytes), atLeast: waitingBytes) { [self] error in
            if let error, state != .ended { fail(error) }
        }
    }

    /// Whether a file of this size fits into the reserved room.
    func hasRoom(for bytes: Int64) -> Bool {
        !store.mayEvict || bytes.subtractingSaturated(offsetBytes) <= reservedBytes
    }

    private var nextStepBytes: Int64 {
        min(max(reservedBytes, Ingest.firstStepBytes), Ingest.largestStepBytes)
    }

    private func ask(_ bytes: Int64, atLeast least: Int64, _ then: @escaping (StoreError?) -> Void) {
        isAskingForRoom = true
        store.admit(bytes, atLeast: least) { [self] result in
            isAskingForRoom = false
            switch result {
            // The ingest has ended meanwhile, so nothing is reserved.
            case .success where state == .ended: then(.closed)
            case .success(let granted):
                store.reservedBytes = store.reservedBytes.addingSaturated(granted)
                reservedBytes = reservedBytes.addingSaturated(granted)
                // With a budget, the disk's free space has been checked too.
                if store.mayEvict { store.noteRoom(for: granted) }
                then(nil)
            case .failure(let error):
                store.noteFailure(error, bytes: bytes)
                then(error)
            }
            resumeAfterReservation()
        }
    }

    /// Reserves room on the disk. Other programs use the disk too, so it may be full although the budget is not; then
    /// images are evicted once for that.
    private func reserveOnDisk(_ totalBytes: Int64, mayEvict: Bool, _ then: @escaping (StoreError?) -> Void) {
        let writer = writer
        let bytes = max(0, totalBytes.subtractingSaturated(offsetBytes))
        chain.attempt({ () throws(StoreError) in try writer.reserve(totalBytes: totalBytes) }) { [self] result in
            guard mayEvict, result.failure?.isNoSpace == true, store.mayEvict else {
                if let error = result.failure {
                    store.noteFailure(error, bytes: bytes)
                } else {
                    store.noteRoom(for: bytes)
                }
                return then(result.failure)
            }
            store.evict(bytes) { [self] _ in reserveOnDisk(totalBytes, mayEvict: false, then) }
        }
    }

    /// Releases the reserved room: the file takes it by now, or does not need it.
    /// - Parameter keptBytes: the remaining size of the partial file.
    func releaseRoom(keptBytes: Int64) {
        store.reservedBytes = max(0, store.reservedBytes.subtractingSaturated(reservedBytes))
        reservedBytes = 0
        store.partialEnded(writer.path, keptBytes: keptBytes)
    }
}
