// One HTTP request by curl: one easy handle. It reports a head, body bytes and one end; it judges nothing, follows
// nothing and logs nothing. That is the exchange's part (Pull/UpstreamExchange.swift).

internal import CCurl
internal import Glibc

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
    package var noProgressMilliseconds: UInt64
    package var bufferBytes = Transfer.smallBufferBytes

    package init(url: UpstreamURL, addresses: AddressGuard, noProgressMilliseconds: UInt64) {
        self.url = url
        self.addresses = addresses
        self.noProgressMilliseconds = noProgressMilliseconds
    }
}

/// Who is told. Called from inside curl: everything a `Transfer` and an exchange offer may be called from here, since
/// they only take note of it.
package protocol TransferHandler: AnyObject {
    func transfer(_ transfer: Transfer, received head: UpstreamHead)
    /// The bytes are gone when this returns. False: no more, until `resume` is called; these were taken all the same.
    func transfer(_ transfer: Transfer, received bytes: UnsafeRawBufferPointer) -> Bool
    /// Once, last, from a deferred action. Nil: the body is complete, as far as HTTP can tell.
    func transfer(_ transfer: Transfer, ended failure: TransferFailure?)
}

/// A running request.
package final class Transfer {
    /// To be connected, TLS included: a registry that takes longer is down for practical purposes.
    static let connectTimeoutMilliseconds = 5000
    /// What curl reads at once of a blob, and keeps again while paused; 288 blobs may be pulled at once.
    package static let bufferBytes = 128 * 1024
    /// The same of all else, which is small and may be asked for a thousand times at once.
    package static let smallBufferBytes = 16 * 1024

    package let request: TransferRequest
    private let multi: CurlMulti
    private let loop: EventLoop
    private weak var handler: (any TransferHandler)?
    private var easy: UnsafeMutableRawPointer?
    private var headerList: UnsafeMutablePointer<curl_slist>?
    private var reader: HeadLines
    private var timer: Timer?
    private var lastProgress: UInt64 = 0
    private var wantsPause = false
    private var isPaused = false
    /// What ended it from our side, so that curl's own reason ("aborted by callback") does not hide it.
    private var ownFailure: TransferFailure?
    /// curl writes here while the easy handle lives.
    private let errorText = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
    private var refusedAddress = false

    /// Nothing more will be reported.
    private(set) var isOver = false
    /// curl is done with it; the end is on its way.
    var isDone = false

    /// Starts the request, soon. The handler is not called before this returns, and is not kept alive.
    package init(_ request: TransferRequest, on multi: CurlMulti, loop: EventLoop, handler: any TransferHandler) {
        self.request = request
        self.multi = multi
        self.loop = loop
        self.handler = handler
        reader = HeadLines(url: request.url, isHead: request.method == .head)
        errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        multi.start(self)
    }

    deinit {
        precondition(easy == nil, "a Transfer's easy handle must be released before it goes")
        errorText.deallocate()
    }

    /// Ends it without another word to the handler. May be called at any time, also from the handler.
    package func cancel() {
        guard !isOver else { return }
        isOver = true
        stopTimer()
        loop.deferred.enqueue { [self] in if let easy { multi.remove(easy) } }
    }

    /// Goes on after the handler returned false. May be called at any time.
    package func resume() {
        guard wantsPause, !isOver else { return }
        wantsPause = false
        lastProgress = loop.nowMilliseconds
        loop.deferred.enqueue { [self] in
            guard !wantsPause, isPaused, !isOver, let easy else { return }
            isPaused = false
            multi.unpause(easy)
        }
    }

    /// Makes an easy handle and lets it go.
    static func rehearse(_ request: TransferRequest) {
        guard let easy = curl_easy_init() else { return }
        _ = EasyOptions.apply(request, to: easy)
        curl_easy_cleanup(easy)
    }

    // MARK: For CurlMulti

    /// Makes the easy handle; nil when there is no memory or an option is refused.
    func prepare(on multi: CurlMulti) -> UnsafeMutableRawPointer? {
        guard let easy = curl_easy_init() else { return nil }
        self.easy = easy
        guard EasyOptions.apply(request, to: easy), setHeaders(easy), setCallbacks(easy) else {
            release()
            return nil
        }
        startTimer()
        return easy
    }

    /// Frees the easy handle, which is in no multi handle any more.
    func release() {
        stopTimer()
        guard let easy else { return }
        self.easy = nil
        curl_easy_cleanup(easy)
        curl_slist_free_all(headerList)
        headerList = nil
    }

    /// What curl's result means. Asked while the easy handle still is there.
    func outcome(_ code: CURLcode) -> Outcome {
        if let ownFailure { return Outcome(ownFailure) }
        if code == CURLE_OK { return reader.isComplete ? Outcome(nil) : failure(.broken, "an answer without a head") }
        if refusedAddress, CurlError.isConnecting(code) || code == CURLE_ABORTED_BY_CALLBACK {
            return failure(.localAddress, "its address is a loopback or link-local one")
        }
        return failure(CurlError.kind(code), CurlError.text(code, detail: String(cString: errorText)))
    }

    func finish(_ outcome: Outcome) {
        guard !isOver else { return }
        isOver = true
        handler?.transfer(self, ended: outcome.failure)
    }

    /// The end of a transfer; `failure` nil when it is complete.
    struct Outcome {
        let failure: TransferFailure?

        init(_ failure: TransferFailure?) { self.failure = failure }
        init(_ code: CURLcode) {
            failure = TransferFailure(kind: .unreachable, reason: CurlError.text(code, detail: ""), hadAnswer: false)
        }
    }

    private func failure(_ kind: TransferFailure.Kind, _ reason: String) -> Outcome {
        Outcome(TransferFailure(kind: kind, reason: reason, hadAnswer: reader.hasBegun))
    }

    // MARK: Set-up

    private func setHeaders(_ easy: UnsafeMutableRawPointer) -> Bool {
        for line in request.headers {
            guard let longer = curl_slist_append(headerList, line) else { return false }
            headerList = longer
        }
        return ccurl_set_list(easy, CURLOPT_HTTPHEADER, headerList) == CURLE_OK
    }

    private func setCallbacks(_ easy: UnsafeMutableRawPointer) -> Bool {
        // Unretained: CurlMulti keeps this object while the easy handle is in use.
        let context = Unmanaged.passUnretained(self).toOpaque()
        for option in [CURLOPT_HEADERDATA, CURLOPT_WRITEDATA, CURLOPT_OPENSOCKETDATA, CURLOPT_PREREQDATA] {
            guard ccurl_set_pointer(easy, option, context) == CURLE_OK else { return false }
        }
        ccurl_set_pointer(easy, CURLOPT_ERRORBUFFER, errorText)
        let header = ccurl_set_write(easy, CURLOPT_HEADERFUNCTION) { bytes, size, count, context in
            Transfer.from(context).header(UnsafeRawBufferPointer(start: bytes, count: size * count))
        }
        let write = ccurl_set_write(easy, CURLOPT_WRITEFUNCTION) { bytes, size, count, context in
            Transfer.from(context).body(UnsafeRawBufferPointer(start: bytes, count: size * count))
        }
        let open = ccurl_set_opensocket(easy) { context, _, address in Transfer.from(context).open(address) }
        let prereq = ccurl_set_prereq(easy) { context, remote, _, port, _ in
            Transfer.from(context).connected(to: remote, port: port)
        }
        return [header, write, open, prereq].allSatisfy { $0 == CURLE_OK }
    }

    private static func from(_ context: UnsafeMutableRawPointer?) -> Transfer {
        // Set in `setCallbacks`, before curl could call.
        Unmanaged<Transfer>.fromOpaque(context.unsafelyUnwrapped).takeUnretainedValue()
    }

    // MARK: Called by curl

    /// Anything but the count ends the transfer (libcurl's "CURLOPT_HEADERFUNCTION").
    private func header(_ line: UnsafeRawBufferPointer) -> Int {
        guard !isOver else { return 0 }
        lastProgress = loop.nowMilliseconds
        switch reader.read(line) {
        case .more: break
        case .head(let head): handler?.transfer(self, received: head)
        case .refused(let reason):
            ownFailure = TransferFailure(kind: .broken, reason: reason, hadAnswer: true)
            return 0
        }
        return isOver ? 0 : line.count
    }

    private func body(_ bytes: UnsafeRawBufferPointer) -> Int {
        guard !isOver else { return 0 }
        lastProgress = loop.nowMilliseconds
        if wantsPause {
            isPaused = true
            return Int(CURL_WRITEFUNC_PAUSE)
        }
        let goesOn = handler?.transfer(self, received: bytes) ?? false
        if !goesOn { wantsPause = true }
        return isOver ? 0 : bytes.count
    }

    /// Before a connection is made, for each address tried.
    private func open(_ address: UnsafeMutablePointer<curl_sockaddr>?) -> Int32 {
        guard let address else { return CURL_SOCKET_BAD }
        let remote = withUnsafeBytes(of: &address.pointee.addr) { sockaddr in
            SocketAddress.read(sockaddr.baseAddress, family: address.pointee.family)
        }
        if let remote, !request.addresses.admits(remote.address, port: remote.port) {
            refusedAddress = true
            return CURL_SOCKET_BAD
        }
        // SOCK_CLOEXEC is O_CLOEXEC by definition (socket(2)); the enumeration's members are not always visible.
        let type = address.pointee.socktype | O_CLOEXEC
        return socket(address.pointee.family, type, address.pointee.protocol)
    }

    /// Before the request is sent, on new connections and on reused ones, which another request may have opened.
    private func connected(to remote: UnsafeMutablePointer<CChar>?, port: Int32) -> Int32 {
        lastProgress = loop.nowMilliseconds
        guard let remote, let address = NetworkAddress(literal: String(cString: remote)),
            request.addresses.admits(address, port: UInt16(truncatingIfNeeded: port))
        else {
            refusedAddress = true
            return CURL_PREREQFUNC_ABORT
        }
        return CURL_PREREQFUNC_OK
    }

    // MARK: Progress

    private func startTimer() {
        lastProgress = loop.nowMilliseconds
        let timer = Timer(on: loop) { [weak self] in self?.checkProgress() }
        timer.start(afterMilliseconds: request.noProgressMilliseconds)
        self.timer = timer
    }

    private func stopTimer() {
        timer?.close()
        timer = nil
    }

    /// Fires when the time could be up; what came meanwhile only moves `lastProgress`, which costs nothing.
    private func checkProgress() {
        guard !isOver, !isDone else { return }
        let limit = request.noProgressMilliseconds
        // While we pause it, silence is ours.
        let silent = wantsPause ? 0 : loop.nowMilliseconds - lastProgress
        guard silent >= limit else {
            timer?.start(afterMilliseconds: limit - silent)
            return
        }
        let late = failure(.timedOut, "nothing arrived for \(limit) ms")
        ownFailure = late.failure
        loop.deferred.enqueue { [self] in
            guard !isOver else { return }
            if let easy { multi.remove(easy) }
            finish(late)
        }
    }
}
