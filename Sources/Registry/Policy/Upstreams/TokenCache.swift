// Cached tokens of upstreams' token services, kept until shortly before they expire.

package import OCI

/// Tokens by the request that got them. Times are the loop's milliseconds.
package struct TokenCache {
    /// Identifies the service, scope and user that a token is valid for.
    package struct Key: Hashable, Sendable {
        /// The token service's URL.
        package let realm: String
        package let service: String?
        package let scope: String
        /// The user whose credentials it was requested with; empty for anonymous. Never the password.
        package let identity: String

        package init(realm: String, service: String?, scope: String, identity: String) {
            self.realm = realm
            self.service = service
            self.scope = scope
            self.identity = identity
        }
    }

    /// Where a token was used: the next request there sends it without waiting for a 401.
    package struct Route: Hashable, Sendable {
        /// The endpoint's address.
        package let endpoint: String
        package let repository: RepositoryName

        package init(endpoint: String, repository: RepositoryName) {
            self.endpoint = endpoint
            self.repository = repository
        }
    }

    /// Limit of tokens, and of routes: a few kilobytes each, one for each repository in use.
    package static let maximumEntries = 1024
    /// A token is not used in its last seconds, since it could expire on the way.
    static let marginMilliseconds: UInt64 = 10_000

    private var entries: [Key: (token: String, untilMilliseconds: UInt64)] = [:]
    private var routes: [Route: Key] = [:]

    package init() {}

    package var count: Int { entries.count }

    /// The token for `key`, if it is still valid.
    package func token(for key: Key, now: UInt64) -> String? {
        guard let entry = entries[key], entry.untilMilliseconds > now else { return nil }
        return entry.token
    }

    /// The token last used at `route`, and its key, if it is still valid.
    package func token(at route: Route, now: UInt64) -> (key: Key, token: String)? {
        guard let key = routes[route], let token = token(for: key, now: now) else { return nil }
        return (key, token)
    }

    package mutating func insert(_ reply: TokenReply, for key: Key, now: UInt64) {
        if entries.count >= TokenCache.maximumEntries, entries[key] == nil { makeRoom(now: now) }
        let life = UInt64(clamping: reply.expiresInSeconds).multipliedSaturated(by: 1000)
        let used = life.subtractingSaturated(TokenCache.marginMilliseconds)
        entries[key] = (reply.token, now.addingSaturated(used))
    }

    package mutating func remember(_ key: Key, at route: Route) {
        if routes.count >= TokenCache.maximumEntries, routes[route] == nil {
            routes = routes.filter { entries[$0.value] != nil }
            if routes.count >= TokenCache.maximumEntries { routes.removeAll() }
        }
        routes[route] = key
    }

    /// Drops a token that was refused, unless a newer one has replaced it.
    package mutating func drop(_ token: String, for key: Key) {
        if entries[key]?.token == token { entries[key] = nil }
    }

    /// Drops the expired tokens, or else the one that expires first.
    private mutating func makeRoom(now: UInt64) {
        entries = entries.filter { $0.value.untilMilliseconds > now }
        guard entries.count >= TokenCache.maximumEntries else { return }
        if let oldest = entries.min(by: { $0.value.untilMilliseconds < $1.value.untilMilliseconds }) {
            entries[oldest.key] = nil
        }
    }
}
