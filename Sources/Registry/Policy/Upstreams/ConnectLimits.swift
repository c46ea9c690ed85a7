// How long each phase of reaching an upstream may take. One limit for all phases together would let a slow name server
// use up the time of a slow handshake.

/// Limits of connecting, and of reusing connections.
package struct ConnectLimits: Sendable {
    /// The wait for a place among the name lookups, and the lookup itself. A name server that does not answer costs 5 s
    /// before the next one is asked (resolv.conf(5), `timeout`), and there may be two of them.
    package var lookupMilliseconds: UInt64 = 15_000
    /// One address. Within this time Linux sends a lost SYN again after 1 s and after 3 s (RFC 6298 §2).
    package var addressMilliseconds: UInt64 = 5000
    /// All addresses of a name: four that do not answer.
    package var connectMilliseconds: UInt64 = 20_000
    /// A proxy's answer to CONNECT; meanwhile the proxy looks up the name and connects.
    package var proxyMilliseconds: UInt64 = 10_000
    /// The TLS handshake, on a connection that is there: the limit of Go's `http.DefaultTransport`.
    package var tlsMilliseconds: UInt64 = 10_000
    /// When no byte of an answer has come for so long, a reused connection may have been dropped silently on the way.
    /// Most registries answer within a second.
    package var reusedSilenceMilliseconds: UInt64 = 3000
    /// Idle connections are not reused after this many seconds. Firewalls and load balancers that forget idle
    /// connections do so after a minute or more.
    package var maximumIdleSeconds = 30
    /// A name that was not found is looked up again after this time, where libcurl would remember for 30 s that it was
    /// not (CURLOPT_DNS_CACHE_TIMEOUT, since 8.16): enough to answer the retries of one client.
    package var failedNameMilliseconds: UInt64 = 2000

    package init() {}

    /// How often the limits are compared with the clock while a connection is being made.
    package var checkMilliseconds: UInt64 {
        let shortest = min(
            lookupMilliseconds, addressMilliseconds, connectMilliseconds, proxyMilliseconds, tlsMilliseconds)
        return min(500, max(10, shortest / 4))
    }
}

/// Where the making of one connection is. Times are the loop's milliseconds.
package struct ConnectPhases: Sendable {
    package enum Phase: Sendable, Equatable {
        /// Nothing but the lookup, or the wait for it, has begun.
        case lookup
        /// The kernel connects to one address or to several.
        case address
        /// Connected to a proxy, which has not answered CONNECT.
        case proxy
        case tls
        /// The request is, or was, on its way.
        case connected
    }

    package private(set) var phase = Phase.lookup
    private var sinceMilliseconds: UInt64

    package init(now: UInt64) { sinceMilliseconds = now }

    /// A name lookup begins, or the wait for one. libcurl may connect anew within one request, when the connection it
    /// reused was closed.
    package mutating func lookupBegan(now: UInt64) {
        if phase == .connected { enter(.lookup, now) }
    }

    /// A socket was made to connect to an address.
    package mutating func socketOpened(now: UInt64) {
        if phase == .lookup || phase == .connected { enter(.address, now) }
    }

    /// One of the sockets is connected.
    package mutating func socketConnected(toProxy: Bool, now: UInt64) {
        if phase == .address { enter(toProxy ? .proxy : .tls, now) }
    }

    /// The proxy has answered CONNECT.
    package mutating func proxyAnswered(now: UInt64) {
        if phase == .proxy { enter(.tls, now) }
    }

    /// Connected, proxy and TLS included.
    package mutating func connected() { phase = .connected }

    private mutating func enter(_ next: Phase, _ now: UInt64) {
        phase = next
        sinceMilliseconds = now
    }

    /// The limit that has been reached, in words; nil while there is time.
    /// - Parameter name: the host that is connected to.
    package func exceeded(_ limits: ConnectLimits, name: String, now: UInt64) -> String? {
        let (limit, what): (UInt64, String) =
            switch phase {
            case .lookup: (limits.lookupMilliseconds, "name lookup of \(name)")
            case .address: (limits.connectMilliseconds, "connecting to \(name)")
            case .proxy: (limits.proxyMilliseconds, "the proxy's answer to CONNECT for \(name)")
            case .tls: (limits.tlsMilliseconds, "TLS handshake with \(name)")
            case .connected: (.max, "")
            }
        guard now >= sinceMilliseconds, now - sinceMilliseconds >= limit else { return nil }
        return "\(what) took longer than \(ConnectPhases.duration(limit))"
    }

    /// `15 s`, or `150 ms` where it is not a whole number of seconds.
    package static func duration(_ milliseconds: UInt64) -> String {
        milliseconds % 1000 == 0 ? "\(milliseconds / 1000) s" : "\(milliseconds) ms"
    }
}
