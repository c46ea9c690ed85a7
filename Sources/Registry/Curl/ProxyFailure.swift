// Failures that are the proxy's and not the upstream's. Errors name the proxy, since its operator is another than the
// registry's, and a refused password must not look like a registry that denies access.

internal import CCurl

extension TransferRequest {
    /// The proxy or the host, for messages about connecting.
    var peerName: String { proxy?.name ?? url.host }
}

extension TransferAttempt {
    /// Proxy Authentication Required (RFC 9110 §15.5.8).
    private static let authenticationRequired = 407

    /// The failure as the proxy's; nil when it is not. Called before the easy handle is freed.
    /// - Parameter text: curl's own text.
    func proxyFailure(_ code: CURLcode, _ text: String) -> (kind: TransferFailure.Kind, reason: String)? {
        guard let proxy = request.proxy, !reader.hasBegun else { return nil }
        if let refusal = connectRefusal(of: proxy) { return refusal }
        if code == CURLE_PROXY { return socksRefusal(of: proxy, text) }
        if number(CURLINFO_PROXY_SSL_VERIFYRESULT) != 0 { return (CurlError.kind(code), "\(proxy.name): \(text)") }
        if code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_PROXY {
            return (.unreachable, "\(proxy.name) cannot be reached: \(text)")
        }
        return progress.phases.phase == .proxy ? (.unreachable, "\(proxy.name): \(text)") : nil
    }

    /// For a request that a proxy forwards, its refusal is the response itself.
    func proxyRefusal(_ head: UpstreamHead) -> TransferFailure? {
        guard let proxy = request.proxy, !proxy.isSOCKS, request.url.scheme == .http else { return nil }
        // tinyproxy answers 401 to a wrong password, and 407 only to none (tinyproxy 1.11, src/reqs.c). It has this
        // Server field in its own pages, not in those that it forwards.
        let isOwnPage = head.fields.first("server")?.hasPrefix("tinyproxy/") ?? false
        guard head.status == TransferAttempt.authenticationRequired || (head.status == 401 && isOwnPage) else {
            return nil
        }
        return TransferFailure(
            kind: .proxyRefused, reason: TransferAttempt.refusedCredentials(proxy, head.status), hadAnswer: true)
    }

    private static func refusedCredentials(_ proxy: UpstreamProxy, _ status: Int) -> String {
        "\(proxy.name) refused the credentials (\(status))"
    }

    /// What an HTTP proxy answered to CONNECT, when that was no success.
    private func connectRefusal(of proxy: UpstreamProxy) -> (kind: TransferFailure.Kind, reason: String)? {
        let status = number(CURLINFO_HTTP_CONNECTCODE)
        guard status >= 300 else { return nil }
        // A 401 to CONNECT is the proxy's as well: the upstream has not been asked anything yet.
        if status == TransferAttempt.authenticationRequired || status == 401 {
            return (.proxyRefused, TransferAttempt.refusedCredentials(proxy, status))
        }
        // A 5xx is about the upstream's reachability, and another try may succeed.
        return (
            status >= 500 ? .unreachable : .proxyRefused,
            "\(proxy.name) answered \(status) to CONNECT for \(request.url.host)"
        )
    }

    private func socksRefusal(
        of proxy: UpstreamProxy, _ text: String
    ) -> (kind: TransferFailure.Kind, reason: String) {
        let reason = number(CURLINFO_PROXY_ERROR)
        if reason == Int(CURLPX_USER_REJECTED.rawValue) || reason == Int(CURLPX_NO_AUTH.rawValue) {
            return (.proxyRefused, "\(proxy.name) refused the credentials")
        }
        return (.unreachable, "\(proxy.name): \(text)")
    }

    private func number(_ info: CURLINFO) -> Int {
        var value = 0
        if let easy { ccurl_get_long(easy, info, &value) }
        return value
    }
}
