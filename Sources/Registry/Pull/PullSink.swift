// Where a blob pull puts the bytes: the file of an ingest, or, where the cache has no room for the blob, a window in
// memory through which they pass to the clients.

internal import OCI

/// The destination of one pull. Its completions run later.
protocol PullSink: AnyObject {
    /// Bytes that readers can be given, apart from the last one.
    var writtenBytes: Int64 { get }
    var onProgress: (() -> Void)? { get set }
    /// Called when `append` may be called again after it returned false.
    var onDrained: (() -> Void)? { get set }
    var onFailure: ((StoreError) -> Void)? { get set }

    /// Lets the blob's readers read from here.
    func open(for blob: GrowingBlob)
    /// Takes a copy of the bytes.
    /// - Returns: false when the caller should pause; these bytes count as taken.
    func append(_ bytes: UnsafeRawBufferPointer) -> Bool
    func reserve(totalBytes: Int64?, then: @escaping (StoreError?) -> Void)
    /// Compares the digest of all bytes.
    func verify(then: @escaping (Result<Bool, StoreError>) -> Void)
    /// Keeps the verified content, where it is kept.
    func keep(then: @escaping (StoreError?) -> Void)
    /// Begins anew, without the bytes so far.
    func startOver(then: @escaping (Result<any PullSink, StoreError>) -> Void)
    /// Ends it and keeps the bytes for a later pull, where they can be kept.
    func suspend()
    /// Ends it.
    func discard()
}

extension Ingest: PullSink {
    func open(for blob: GrowingBlob) { blob.opened(file) }

    func keep(then: @escaping (StoreError?) -> Void) { commit { then($0.failure) } }

    func startOver(then: @escaping (Result<any PullSink, StoreError>) -> Void) {
        restart { then($0.map { $0 as any PullSink }) }
    }
}
