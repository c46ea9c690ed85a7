// Where a blob pull puts the bytes: the file of an ingest, or, where the cache has no room for the blob, a window in
// memory through which they pass to the clients.

internal import OCI

/// The destination of one pull. Completions run after the call has returned.
protocol PullSink: AnyObject {
    /// Bytes that readers can be given, apart from the last one.
    var writtenBytes: Int64 { get }
    var onProgress: (() -> Void)? { get set }
    /// Called when `append` may be called again after it returned false.
    var onDrained: (() -> Void)? { get set }
    var onFailure: ((StoreError) -> Void)? { get set }

    /// Makes the blob's readers read from this sink.
    func attach(to blob: GrowingBlob)
    /// Takes a copy of the bytes.
    /// - Returns: false when the caller should pause; these bytes count as taken.
    func append(_ bytes: UnsafeRawBufferPointer) -> Bool
    func reserve(totalBytes: Int64?, then: @escaping (StoreError?) -> Void)
    /// Compares the digest of all bytes.
    func verify(then: @escaping (Result<Bool, StoreError>) -> Void)
    /// Publishes the verified content; a window only ends.
    func keep(then: @escaping (StoreError?) -> Void)
    /// Starts again from byte 0 with a new file; a window fails with `.closed`.
    func startOver(then: @escaping (Result<any PullSink, StoreError>) -> Void)
    /// Ends the pull. A file is kept for resuming; a window is dropped.
    func suspend()
    /// Ends the pull and drops its bytes.
    func discard()
}

extension Ingest: PullSink {
    func attach(to blob: GrowingBlob) { blob.opened(file) }

    func keep(then: @escaping (StoreError?) -> Void) { commit { then($0.failure) } }

    func startOver(then: @escaping (Result<any PullSink, StoreError>) -> Void) {
        restart { then($0.map { $0 as any PullSink }) }
    }
}
