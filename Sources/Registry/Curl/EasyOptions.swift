// All options that a request sets on its easy handle, and the meaning of curl's results.

internal import CCurl
internal import Glibc

/// Sets the options of an easy handle.
enum EasyOptions {
    /// The options that differ between the attempts at one request.
    struct Choices {
        /// Whether an idle connection may not be used.
        var isFresh = false
        /// A connection that was idle for longer is closed instead of used.
        var maximumIdleSeconds = ConnectLimits().maximumIdleSeconds
        /// Upper bound for connecting.
        var connectMilliseconds = EasyOptions.connectTimeoutMilliseconds
    }

    /// Least bound for connecting, lookup included; each phase has its own shorter limit (`ConnectLimits`). A lookup
    /// that no request waits for ends here at the latest, and keeps its slot until then.
    static let connectTimeoutMilliseconds = 120_000
    /// How long libcurl caches an address: its default, set explicitly because libcurl caches a failure for half of it.
    static let rememberedNameSeconds = 60

    /// Sets a request's options; false when curl refuses one.
    static func apply(_ request: TransferRequest, _ choices: Choices, to easy: UnsafeMutableRawPointer) -> Bool {
        let numbers: [(CURLoption, Int)] = [
            // No signals for timeouts: they would affect the whole process.
            (CURLOPT_NOSIGNAL, 1),
            // Ending a transfer during a lookup must not wait for the resolver's thread.
            (CURLOPT_QUICK_EXIT, 1),
            (CURLOPT_FOLLOWLOCATION, 0),
            (CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1)),
            (CURLOPT_BUFFERSIZE, request.bufferBytes),
            (CURLOPT_CONNECTTIMEOUT_MS, choices.connectMilliseconds),
            (CURLOPT_DNS_CACHE_TIMEOUT, rememberedNameSeconds),
            (CURLOPT_FRESH_CONNECT, choices.isFresh ? 1 : 0),
            (CURLOPT_MAXAGE_CONN, choices.maximumIdleSeconds),
            (CURLOPT_TCP_NODELAY, 1),
            (CURLOPT_TCP_KEEPALIVE, 1),
            (CURLOPT_HTTP_CONTENT_DECODING, request.decodesContent ? 1 : 0),
            (CURLOPT_SUPPRESS_CONNECT_HEADERS, 1),
            (CURLOPT_NOBODY, request.method == .head ? 1 : 0),
            (CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2)),
            (CURLOPT_SSL_VERIFYPEER, request.tls.skipsVerification ? 0 : 1),
            (CURLOPT_SSL_VERIFYHOST, request.tls.skipsVerification ? 0 : 2),
            // Files are read for each connection. Otherwise libcurl uses authorities that it has read from the same
            // path for 24 hours, whatever the file holds now (CURLOPT_CA_CACHE_TIMEOUT(3)).
            (CURLOPT_CA_CACHE_TIMEOUT, 0),
        ]
        guard numbers.allSatisfy({ ccurl_set_long(easy, $0.0, $0.1) == CURLE_OK }) else { return false }
        var texts: [(CURLoption, String)] = [
            (CURLOPT_URL, request.url.text),
            (CURLOPT_PROTOCOLS_STR, "http,https"),
            (CURLOPT_REDIR_PROTOCOLS_STR, "http,https"),
            (CURLOPT_USERAGENT, request.userAgent),
        ]
        // curl decodes every encoding that it knows, whichever it has asked for, but only if it has asked for one.
        if request.decodesContent { texts.append((CURLOPT_ACCEPT_ENCODING, "identity")) }
        if let signature = request.awsSignature {
            texts.append((CURLOPT_AWS_SIGV4, signature.provider))
            texts.append((CURLOPT_USERNAME, signature.user))
            texts.append((CURLOPT_PASSWORD, signature.password))
        }
        if let file = request.tls.caFile { texts.append((CURLOPT_CAINFO, file)) }
        // libcurl passes it on to OpenSSL, which reads a list with colons (X509_LOOKUP_hash_dir(3)).
        if let list = request.tls.caDirectories { texts.append((CURLOPT_CAPATH, list)) }
        if let file = request.tls.certificateFile { texts.append((CURLOPT_SSLCERT, file)) }
        if let file = request.tls.keyFile { texts.append((CURLOPT_SSLKEY, file)) }
        guard texts.allSatisfy({ ccurl_set_string(easy, $0.0, $0.1) == CURLE_OK }) else { return false }
        guard setProxy(request.proxy, easy), setBody(request, easy) else { return false }
        if request.tls.caFile != nil, !request.tls.trustsSystem {
            return ccurl_set_string(easy, CURLOPT_CAPATH, nil) == CURLE_OK
        }
        return true
    }

    /// Sets the proxy or none, so that curl's own reading of the environment never counts.
    private static func setProxy(_ proxy: UpstreamProxy?, _ easy: UnsafeMutableRawPointer) -> Bool {
        var texts: [(CURLoption, String)] = [(CURLOPT_PROXY, proxy?.text ?? ""), (CURLOPT_NOPROXY, "")]
        if let (user, password) = proxy?.login {
            // As options they are taken literally; in a URL curl would decode them.
            texts += [(CURLOPT_PROXYUSERNAME, user), (CURLOPT_PROXYPASSWORD, password)]
        }
        if let file = proxy?.caFile { texts.append((CURLOPT_PROXY_CAINFO, file)) }
        if let list = proxy?.caDirectories { texts.append((CURLOPT_PROXY_CAPATH, list)) }
        let numbers: [(CURLoption, Int)] = [
            // The upstream's header fields, credentials among them, are not for the proxy that is asked for a tunnel.
            (CURLOPT_HEADEROPT, Int(CURLHEADER_SEPARATE)),
            (CURLOPT_PROXY_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2)),
        ]
        return texts.allSatisfy { ccurl_set_string(easy, $0.0, $0.1) == CURLE_OK }
            && numbers.allSatisfy { ccurl_set_long(easy, $0.0, $0.1) == CURLE_OK }
    }

    /// Sets the method and body of a POST or a PUT; curl copies the body.
    private static func setBody(_ request: TransferRequest, _ easy: UnsafeMutableRawPointer) -> Bool {
        guard request.method == .post || request.method == .put else { return true }
        guard ccurl_set_long(easy, CURLOPT_POSTFIELDSIZE, request.body.count) == CURLE_OK else { return false }
        let isCopied = request.body.withUnsafeBytes { bytes in
            bytes.baseAddress.map {
                ccurl_set_pointer(easy, CURLOPT_COPYPOSTFIELDS, UnsafeMutableRawPointer(mutating: $0))
            } ?? ccurl_set_string(easy, CURLOPT_COPYPOSTFIELDS, "")
        }
        guard isCopied == CURLE_OK, request.method == .put else { return isCopied == CURLE_OK }
        return ccurl_set_string(easy, CURLOPT_CUSTOMREQUEST, "PUT") == CURLE_OK
    }
}

/// The kinds of curl's result codes.
enum CurlError {
    static func isConnecting(_ code: CURLcode) -> Bool {
        [
            CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT, CURLE_OPERATION_TIMEDOUT,
            CURLE_INTERFACE_FAILED, CURLE_FAILED_INIT, CURLE_OUT_OF_MEMORY, CURLE_PROXY,
        ].contains(code)
    }

    static func isLookup(_ code: CURLcode) -> Bool {
        code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY
    }

    private static func isTrust(_ code: CURLcode) -> Bool {
        [
            CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR,
            CURLE_SSL_CIPHER, CURLE_SSL_CRL_BADFILE, CURLE_SSL_PINNEDPUBKEYNOTMATCH, CURLE_SSL_INVALIDCERTSTATUS,
            CURLE_SSL_CONNECT_ERROR, CURLE_SSL_ENGINE_INITFAILED,
        ].contains(code)
    }

    /// curl's only timeout here is the one for connecting, so a timeout counts as unreachable.
    static func kind(_ code: CURLcode) -> TransferFailure.Kind {
        if isConnecting(code) { return .unreachable }
        return isTrust(code) ? .untrusted : .broken
    }

    /// curl's error text. Its detail is used for connection and certificate errors only, where it names hosts and
    /// files; elsewhere it might quote a URL.
    static func text(_ code: CURLcode, detail: String) -> String {
        if !detail.isEmpty, isConnecting(code) || isTrust(code) { return detail }
        return String(cString: curl_easy_strerror(code))
    }
}

/// Socket addresses as curl passes them. They are read by offset, since the C module that was built first decides
/// whether Swift sees the members of `sockaddr_in`.
enum SocketAddress {
    /// `sin_port` and `sin6_port` (netinet/in.h).
    private static let portOffset = 2
    private static let fourOffset = 4
    private static let sixOffset = 8

    /// Nil for families that are not IP.
    static func read(_ raw: UnsafeRawPointer?, family: Int32) -> (address: NetworkAddress, port: UInt16)? {
        guard let raw, family == AF_INET || family == AF_INET6 else { return nil }
        // curl_sockaddr is declared with room for a plain sockaddr but holds `addrlen` bytes (Curl_sockaddr_ex).
        let (offset, count) = family == AF_INET ? (fourOffset, 4) : (sixOffset, 16)
        let port = UInt16(bigEndian: raw.loadUnaligned(fromByteOffset: portOffset, as: UInt16.self))
        let bytes = Array(UnsafeRawBufferPointer(start: raw + offset, count: count))
        return NetworkAddress(bytes: bytes).map { ($0, port) }
    }
}

/// Options of the multi handle that are newer than the headers this is built with (7.88). Their numbers are part of
/// libcurl's ABI (curl/multi.h of 8.20); an older library refuses them.
enum MultiOptions {
    /// `CURLMOPT_RESOLVE_THREADS_MAX`, since 8.20: the threads that look up names; one name may use two of them.
    private static let resolveThreadsMax = CURLMoption(rawValue: 20)
    /// `CURLMOPT_QUICK_EXIT`, since 8.20: cleanup does not wait for running lookups.
    private static let quickExit = CURLMoption(rawValue: 21)
    /// Enough threads for every lookup that has a slot (`LookupShares`).
    private static var resolverThreads: Int { 2 * LookupShares<ObjectIdentifier>.Limits().all }

    /// Sets the options that the library knows.
    static func apply(to multi: UnsafeMutableRawPointer) {
        // An older library returns CURLM_UNKNOWN_OPTION; it uses a thread for each lookup, and `CURLOPT_QUICK_EXIT`
        // avoids the wait.
        ccurl_multi_set_long(multi, resolveThreadsMax, resolverThreads)
        ccurl_multi_set_long(multi, quickExit, 1)
    }
}
