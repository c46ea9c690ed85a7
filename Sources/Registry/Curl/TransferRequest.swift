// The request of a transfer, and the protocol of the handler that gets its response.

/// A request to an upstream.
package struct TransferRequest {
    package enum Method: Sendable { case get, head, post, put }

    /// TLS settings for this host. The files are read when the connection is made.
    package struct TLS: Sendable, Equatable {
        package var caFile: String?
        /// Directories of authorities in place of the system's, with colons between.
        package var caDirectories: String?
        /// Whether the system's certificates are trusted in addition to `caFile`.
        package var trustsSystem = true
        package var certificateFile: String?
        package var keyFile: String?
        package var skipsVerification = false

        package init() {}
    }

    package var url: UpstreamURL
    package var method = Method.get
    /// Whole header lines, `Name: value`. They are the only way credentials are sent: curl follows no redirects here.
    package var headers: [String] = []
    /// The body of a `post`; `put` has none.
    package var body: [UInt8] = []
    package var userAgent = ""
    /// Signs the request with an AWS access key, whose session token is sent as a header.
    package var awsSignature: AWSSignature?
    package var tls = TLS()
    package var addresses: AddressGuard
    /// The proxy that it goes through; nil: none, whatever the environment says.
    package var proxy: UpstreamProxy? { didSet { addresses.isProxied = proxy != nil } }
    /// Limits of connecting and of the first byte; nil: those of the `CurlMulti`.
    package var limits: ConnectLimits?
    /// How long the upstream may send nothing, from the request on, while this server is ready to receive.
    package var noProgressMilliseconds: UInt64
    /// The client whose request caused this one, for its share of name lookups; nil for the server's own requests.
    package var client: NetworkAddress?
    /// Whether it is for a registry that the configuration names, also after redirects to other hosts.
    package var isConfigured = false
    /// Whether an encoded body (`Content-Encoding`) is decoded. Identity is asked for, but some servers compress all
    /// the same. A blob's bytes are stored as they come: its digest is often that of the compressed bytes.
    package var decodesContent = true
    /// The size of curl's receive buffer.
    package var bufferBytes = TransferRequest.smallBufferBytes

    /// Receive buffer for a blob; a paused transfer holds as much again, and 288 blobs may be pulled at once.
    package static let blobBufferBytes = 128 * 1024
    /// Receive buffer for all other requests: their bodies are small, and a thousand may run at once.
    package static let smallBufferBytes = 16 * 1024

    /// The host and port that a connection is made to.
    var peer: Peer { proxy.map { Peer(host: $0.host, port: $0.port) } ?? Peer(host: url.host, port: url.port) }

    /// A name and port to connect to.
    struct Peer: Hashable {
        let host: String
        let port: UInt16
    }

    package init(url: UpstreamURL, addresses: AddressGuard, noProgressMilliseconds: UInt64) {
        self.url = url
        self.addresses = addresses
        self.noProgressMilliseconds = noProgressMilliseconds
    }
}

/// Gets the response of a transfer. Called from inside curl: it may call every function of a `Transfer` and of an
/// exchange, since these only record what to do.
package protocol TransferHandler: AnyObject {
    func transfer(_ transfer: Transfer, received head: UpstreamHead)
    /// The bytes are valid only during this call. False pauses the transfer until `resume`; these bytes count as taken.
    func transfer(_ transfer: Transfer, received bytes: UnsafeRawBufferPointer) -> Bool
    /// Called once, last, from a deferred action. Nil means that the body is complete, as far as HTTP shows.
    func transfer(_ transfer: Transfer, ended failure: TransferFailure?)
}
