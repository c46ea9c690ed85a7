// Time limits for each phase of connecting to an upstream. With one limit for all phases a slow name server would use
// up the time of a slow handshake.

internal import OCI

/// Limits of connecting, and of reusing connections.
package struct ConnectLimits: Sendable {
    /// The wait for a lookup slot, and the lookup itself. A name server that does not answer costs 5 s before the next
    /// one is asked (resolv.conf(5), `timeout`), and there may be two of them.
    package var lookupMilliseconds: UInt64 = 15_000
    /// Connecting to one address. Within this time Linux resends a lost SYN after 1 s and after 3 s (RFC 6298 §2).
    package var addressMilliseconds: UInt64 = 5000
    /// Connecting to all addresses of a name: enough for four that do not answer.
    package var connectMilliseconds: UInt64 = addressesOfAName * 5000
    static let addressesOfAName: UInt64 = 4
    /// The proxy's answer to CONNECT, during which the proxy looks up the name and connects.
    package var proxyMilliseconds: UInt64 = 10_000
    /// The TLS handshake on an established connection: the limit of Go's `http.DefaultTransport`.
    package var tlsMilliseconds: UInt64 = 10_000
    /// After this time without a byte of the answer, a reused connection counts as possibly dead. Most registries
    /// answer within a second.
    package var reusedSilenceMilliseconds: UInt64 = 3000
    /// Idle connections are not reused after this many seconds. Firewalls and load balancers drop idle connections
    /// after a minute or more.
    package var maximumIdleSeconds = 30
    /// A name that was not found is looked up again after this time: long enough to serve one client's retries. libcurl
    /// would cache the failure for 30 s (CURLOPT_DNS_CACHE_TIMEOUT, since 8.16).
    package var failedNameMilliseconds: UInt64 = 2000

    /// The response's first byte, once the request has been sent. Blobs begin within this time also where a registry
    /// first has to fetch them from its own store.
    package var firstByteMilliseconds: UInt64 = 15_000

    package init() {}

    /// The sum of the phases of connecting.
    package var allMilliseconds: UInt64 {
        [lookupMilliseconds, connectMilliseconds, proxyMilliseconds, tlsMilliseconds]
            .reduce(0) { $0.addingSaturated($1) }
    }

    /// How often the limits are checked while a connection is being made.
    package var checkMilliseconds: UInt64 {
        let shortest = min(
            lookupMilliseconds, addressMilliseconds, connectMilliseconds, proxyMilliseconds, tlsMilliseconds)
        return min(500, max(10, shortest / 4))
    }
}

/// The phase that one connection attempt has reached. Times are the loop's milliseconds.
package struct ConnectPhases: Sendable {
    package enum Phase: Sendable, Equatable {
        /// The lookup, or the wait for it, is in progress.
        case lookup
        /// The kernel connects to one address or to several.
        case address
        /// Connected to a proxy that has not answered CONNECT.
        case proxy
        case tls
        /// The connection is made; the request may have been sent.
        case connected
    }

    package private(set) var phase = Phase.lookup
    private var sinceMilliseconds: UInt64

    package init(now: UInt64) { sinceMilliseconds = now }

    /// Called when a name lookup, or the wait for one, begins. libcurl may connect again within one request, when the
    /// connection it reused was closed.
    package mutating func lookupBegan(now: UInt64) {
        if phase == .connected { enter(.lookup, now) }
    }

    /// Called when a socket is opened for an address.
    package mutating func socketOpened(now: UInt64) {
        if phase == .lookup || phase == .connected { enter(.address, now) }
    }

    /// Called when one of the sockets has connected.
    package mutating func socketConnected(toProxy: Bool, now: UInt64) {
        if phase == .address { enter(toProxy ? .proxy : .tls, now) }
    }

    /// Called when the proxy has answered CONNECT.
    package mutating func proxyAnswered(now: UInt64) {
        if phase == .proxy { enter(.tls, now) }
    }

    /// Called when the connection is made, proxy and TLS included.
    package mutating func connected() { phase = .connected }

    private mutating func enter(_ next: Phase, _ now: UInt64) {
        phase = next
        sinceMilliseconds = now
    }

    /// The limit that was reached, as text; nil while there is time.
    /// - Parameter name: the host to connect to.
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

    /// The duration as `15 s`, or as `150 ms` if it is not a whole number of seconds.
    package static func duration(_ milliseconds: UInt64) -> String {
        milliseconds % 1000 == 0 ? "\(milliseconds / 1000) s" : "\(milliseconds) ms"
    }
}
