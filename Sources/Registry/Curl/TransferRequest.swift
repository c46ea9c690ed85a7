// A transfer's request, and the owner that gets its answer.

/// What to ask for.
package struct TransferRequest {
    package enum Method: Sendable { case get, head }

    /// TLS towards this host. Paths are read when the connection is made.
    package struct TLS: Sendable, Equatable {
        package var caFile: String?
        /// The system's certificates count as well as `caFile`.
        package var trustsSystem = true
        package var certificateFile: String?
        package var keyFile: String?
        package var skipsVerification = false

        package init() {}
    }

    package var url: UpstreamURL
    package var method = Method.get
    /// Whole header lines, `Name: value`; the one way credentials are sent, since nothing follows redirects here.
    package var headers: [String] = []
    package var userAgent = ""
    package var tls = TLS()
    package var addresses: AddressGuard
    /// How long the upstream may send nothing, from the request on, while we are ready to take it.
    package var noProgressMilliseconds: UInt64
    /// The client whose request caused this one, for its share of name lookups; nil for what the server does by itself.
    package var client: NetworkAddress?
    /// Whether it is for a registry that the configuration names, wherever that sends us.
    package var isConfigured = false
    /// Bytes that curl reads at once.
    package var bufferBytes = TransferRequest.smallBufferBytes

    /// What curl reads at once of a blob, and keeps again while paused; 288 blobs may be pulled at once.
    package static let blobBufferBytes = 128 * 1024
    /// The same of all else, which is small and may be asked for a thousand times at once.
    package static let smallBufferBytes = 16 * 1024

    package init(url: UpstreamURL, addresses: AddressGuard, noProgressMilliseconds: UInt64) {
        self.url = url
        self.addresses = addresses
        self.noProgressMilliseconds = noProgressMilliseconds
    }
}

/// The owner that gets an answer. Called from inside curl: every function of a `Transfer` and of an exchange may be
/// called from here, since these only take note of it.
package protocol TransferHandler: AnyObject {
    func transfer(_ transfer: Transfer, received head: UpstreamHead)
    /// The bytes are gone when this returns. False: no more, until `resume` is called; these were taken all the same.
    func transfer(_ transfer: Transfer, received bytes: UnsafeRawBufferPointer) -> Bool
    /// Once, last, from a deferred action. Nil: the body is complete, as far as HTTP can tell.
    func transfer(_ transfer: Transfer, ended failure: TransferFailure?)
}
