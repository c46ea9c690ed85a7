// Fetches missing blobs from upstreams: each once for all images that need it, with a limit on their number.

internal import OCI

/// Fetches the blobs of listed images.
final class BlobFetches {
    /// Concurrent blobs: enough to use the bandwidth of several registries (each gets
    /// `PullQueue.maximumPrefetchPerHost` of them), few enough not to slow a serving server.
    static let maximumAtOnce = 16

    private let context: LoadContext
    private let gate = Gate(limit: BlobFetches.maximumAtOnce)
    private var waiting: [Digest: [(RegistryError?) -> Void]] = [:]
    private var growing: [Digest: GrowingBlob] = [:]
    private(set) var wantedBytes: Int64 = 0
    private var endedBytes: Int64 = 0
    private(set) var isStopping = false

    init(_ context: LoadContext) { self.context = context }

    var arrivedBytes: Int64 { growing.values.saturatedSum(\.readableBytes).addingSaturated(endedBytes) }

    /// Makes sure that a blob is in the store.
    /// - Parameter then: `error` is nil when the blob is in the store; `wasMissing`: whether it had to be fetched.
    func need(
        _ blob: Descriptor, from source: PullSource,
        then: @escaping (_ error: RegistryError?, _ wasMissing: Bool) -> Void
    ) {
        if waiting[blob.digest] != nil {
            waiting[blob.digest]?.append { [self] error in
                // After a failure with another upstream, this one may still have the blob.
                if error == nil || isStopping { then(error, true) } else { need(blob, from: source, then: then) }
            }
            return
        }
        context.store.hasBlob(blob) { [self] isPresent in
            if isPresent { return then(nil, false) }
            if waiting[blob.digest] != nil { return need(blob, from: source, then: then) }
            waiting[blob.digest] = [{ then($0, true) }]
            wantedBytes = wantedBytes.addingSaturated(blob.sizeBytes ?? 0)
            gate.enter { self.fetch(blob, from: source) }
        }
    }

    /// Starts no more fetches and releases the running ones: each ends unless another reader needs it.
    func stop() {
        isStopping = true
        for blob in Array(growing.values) { context.puller.letGo(blob.key) }
    }

    private func fetch(_ blob: Descriptor, from source: PullSource) {
        guard !isStopping else { return ended(blob, .unavailable("stopped")) }
        growing[blob.digest] = context.puller.fetchBlob(blob.digest, from: source) { [self] error in
            growing[blob.digest] = nil
            ended(blob, error)
        }
    }

    private func ended(_ blob: Descriptor, _ error: RegistryError?) {
        let sizeBytes = blob.sizeBytes ?? 0
        if error == nil {
            endedBytes = endedBytes.addingSaturated(sizeBytes)
        } else {
            wantedBytes = max(0, wantedBytes.subtractingSaturated(sizeBytes))
        }
        let callers = waiting.removeValue(forKey: blob.digest) ?? []
        context.loop.deferred.forEach(callers) { $0(error) }
        gate.leave()
    }
}
