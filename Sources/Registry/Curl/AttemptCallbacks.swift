// The callbacks that curl makes while an attempt connects and while its response arrives. A callback must not call
// curl, so such calls are deferred.

internal import CCurl
internal import Glibc

extension TransferAttempt {
    /// Sets the callbacks; false when curl refuses one.
    func setCallbacks(_ easy: UnsafeMutableRawPointer) -> Bool {
        // Unretained: CurlMulti retains this object while the easy handle is in use.
        let context = Unmanaged.passUnretained(self).toOpaque()
        for option in [
            CURLOPT_HEADERDATA, CURLOPT_WRITEDATA, CURLOPT_OPENSOCKETDATA, CURLOPT_PREREQDATA,
            CURLOPT_RESOLVER_START_DATA,
        ] {
            guard ccurl_set_pointer(easy, option, context) == CURLE_OK else { return false }
        }
        ccurl_set_pointer(easy, CURLOPT_ERRORBUFFER, errorText)
        let header = ccurl_set_write(easy, CURLOPT_HEADERFUNCTION) { bytes, size, count, context in
            TransferAttempt.from(context).header(UnsafeRawBufferPointer(start: bytes, count: size * count))
        }
        let write = ccurl_set_write(easy, CURLOPT_WRITEFUNCTION) { bytes, size, count, context in
            TransferAttempt.from(context).body(UnsafeRawBufferPointer(start: bytes, count: size * count))
        }
        let resolve = ccurl_set_resolver_start(easy) { _, _, context in TransferAttempt.from(context).lookupBegins() }
        let open = ccurl_set_opensocket(easy) { context, _, address in TransferAttempt.from(context).open(address) }
        let prereq = ccurl_set_prereq(easy) { context, remote, _, port, localPort in
            TransferAttempt.from(context).connected(to: remote, port: port, localPort: localPort)
        }
        return [header, write, resolve, open, prereq].allSatisfy { $0 == CURLE_OK }
    }

    private static func from(_ context: UnsafeMutableRawPointer?) -> TransferAttempt {
        // Set in `setCallbacks`, before curl can call back.
        Unmanaged<TransferAttempt>.fromOpaque(context.unsafelyUnwrapped).takeUnretainedValue()
    }
}

// MARK: - Called by curl while it connects

extension TransferAttempt {
    /// Called before a lookup of a name that libcurl has not cached, and for numeric addresses as well. A result other
    /// than 0 ends the attempt (libcurl's "CURLOPT_RESOLVER_START_FUNCTION").
    private func lookupBegins() -> Int32 {
        guard !isOver else { return 1 }
        beginsAnew()
        progress.phases.lookupBegan(now: loop.nowMilliseconds)
        guard !CurlMulti.needsNoLookup(request.peer.host) else { return 0 }
        lookup = multi.beginLookup(self) ? .running : .denied
        return lookup == .running ? 0 : 1
    }

    /// Restarts the connect limits: libcurl connects again by itself when a reused connection was closed.
    private func beginsAnew() {
        guard progress.phases.phase == .connected else { return }
        timer?.start(afterMilliseconds: limits.checkMilliseconds)
    }

    private func lookupEnds() {
        guard lookup == .running else { return }
        lookup = .none
        multi.lookupEnded(self)
    }

    /// Called before a connection is made, for each address tried.
    private func open(_ address: UnsafeMutablePointer<curl_sockaddr>?) -> Int32 {
        lookupEnds()
        guard !isOver, let address else { return CURL_SOCKET_BAD }
        beginsAnew()
        progress.socketOpens(now: loop.nowMilliseconds)
        let remote = withUnsafeBytes(of: &address.pointee.addr) { sockaddr in
            SocketAddress.read(sockaddr.baseAddress, family: address.pointee.family)
        }
        if let remote, !request.addresses.admits(remote.address) {
            refuse(remote.address, isInUse: false)
            return CURL_SOCKET_BAD
        }
        hasOpenedSocket = true
        // SOCK_CLOEXEC is O_CLOEXEC by definition (socket(2)); the enumeration's members are not always visible.
        let type = address.pointee.socktype | O_CLOEXEC
        let descriptor = socket(address.pointee.family, type, address.pointee.protocol)
        guard descriptor >= 0 else { return CURL_SOCKET_BAD }
        pool?.opened(descriptor)
        if let remote { progress.add(descriptor, remote, now: loop.nowMilliseconds) }
        return descriptor
    }

    /// Called before the request is sent. The address is checked here again, since another request may have opened a
    /// reused connection.
    private func connected(to remote: UnsafeMutablePointer<CChar>?, port: Int32, localPort: Int32) -> Int32 {
        lookupEnds()
        guard !isOver else { return CURL_PREREQFUNC_ABORT }
        lastProgress = loop.nowMilliseconds
        timer?.start(afterMilliseconds: progressLimit)
        let port = UInt16(truncatingIfNeeded: port)
        let peer = remote.flatMap { NetworkAddress(literal: String(cString: $0)) }
        guard let address = peer, request.addresses.admits(address) else {
            refuse(peer, isInUse: true)
            return CURL_PREREQFUNC_ABORT
        }
        let ends = ConnectionEnds(address: address, port: port, localPort: UInt16(truncatingIfNeeded: localPort))
        let isReused = progress.connected(ends, &multi.connections)
        if isReused, multi.connections.hasInput(ends) { return refuseStaleConnection() }
        owner?.attempt(self, connected: isReused)
        return CURL_PREREQFUNC_OK
    }

    /// Ends the attempt: bytes that arrived before the request cannot be its response, so only this connection is given
    /// up.
    private func refuseStaleConnection() -> Int32 {
        owner?.attempt(self, connected: true)
        ownFailure = TransferFailure(
            kind: .broken, reason: "the reused connection had bytes before the request", hadAnswer: false)
        return CURL_PREREQFUNC_ABORT
    }
}

// MARK: - Called by curl with the answer

extension TransferAttempt {
    /// A result other than the byte count ends the attempt (libcurl's "CURLOPT_HEADERFUNCTION").
    private func header(_ line: UnsafeRawBufferPointer) -> Int {
        guard !isOver else { return 0 }
        lastProgress = loop.nowMilliseconds
        switch reader.read(line) {
        case .more: break
        case .head(let head):
            if let refusal = proxyRefusal(head) {
                ownFailure = refusal
                return 0
            }
            owner?.attempt(self, received: head)
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
        let goesOn = owner?.attempt(self, received: bytes) ?? false
        if !goesOn { wantsPause = true }
        return isOver ? 0 : bytes.count
    }
}
