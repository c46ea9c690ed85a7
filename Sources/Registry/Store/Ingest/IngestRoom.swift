// An ingest's room in the budget: all of it at once where the size is known, and where it is not, in steps as the
// content grows. Bytes that have no room yet wait in their buffers, and their sender with them.

internal import OCI

extension Ingest {
    /// The first step of a content of unknown size, and the largest: it doubles what there is in between. A small blob
    /// takes little that it does not need, and a large one asks seldom.
    static let firstStepBytes: Int64 = 256 * 1024
    static let largestStepBytes: Int64 = 8 << 20
    /// With less room than this none is begun: its readers would only be cut off.
    static let leastBytes: Int64 = 64 * 1024

    /// Reserves room for the whole content, or for the beginning of one of unknown size (nil), which gets more as it
    /// grows. `then` gets nil, or why there is none (`isNoSpace`).
    package func reserve(totalBytes: Int64?, then: @escaping (StoreError?) -> Void) {
        guard let totalBytes else { return ask(nextStepBytes, atLeast: Ingest.leastBytes, then) }
        let bytes = max(0, totalBytes.subtractingSaturated(offsetBytes).subtractingSaturated(reservedBytes))
        ask(bytes, atLeast: bytes) { [self] error in
            guard error == nil else { return then(error) }
            reserveOnDisk(totalBytes, mayEvict: true, then)
        }
    }

    /// Room for what waits, and for some more to come.
    func grow() {
        ask(max(nextStepBytes, waitingBytes), atLeast: waitingBytes) { [self] error in
            if let error, state != .ended { fail(error) }
        }
    }

    /// Whether a file of so many bytes is within what this has reserved.
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
            // Ended meanwhile: nothing has been promised yet.
            case .success where state == .ended: then(.closed)
            case .success(let granted):
                store.reservedBytes = store.reservedBytes.addingSaturated(granted)
                reservedBytes = reservedBytes.addingSaturated(granted)
                // A budget has looked at the disk as well.
                if store.mayEvict { store.noteRoom(for: granted) }
                then(nil)
            case .failure(let error):
                store.noteFailure(error, bytes: bytes)
                then(error)
            }
            resumeAfterReservation()
        }
    }

    /// A disk that has no room although the budget has: others use it too. Once, images leave for that as well.
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

    /// The room is taken by now, or not wanted any more.
    /// - Parameter keptBytes: what stays of the partial file.
    func releaseRoom(keptBytes: Int64) {
        store.reservedBytes = max(0, store.reservedBytes.subtractingSaturated(reservedBytes))
        reservedBytes = 0
        store.partialEnded(writer.path, keptBytes: keptBytes)
    }
}
