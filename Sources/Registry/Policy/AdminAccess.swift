// Access to administration: the Unix socket in the store's directory, the listener `adminListen`, and the port that
// serves images. That port is closed unless the configuration opens it for a token: behind a proxy on this machine
// every client looks local, and neither address nor fields need show it. A loopback `adminListen` without a token
// recognises browsers and proxies by their fields and refuses them. Pure.

package import Configuration
internal import OCI

/// The rules of one listener, applied to a request.
package struct AdminAccess: Sendable {
    private enum Rule: Sendable {
        case everyone, nobody, localOperator
        case token(Secret)
    }

    /// The origin of a request, as far as it is known.
    package struct Origin {
        /// Nil when it is not known.
        package var peer: NetworkAddress?
        /// The host of the target or of the Host field; empty when there is none.
        package var host: String
        /// Field lines, with names in lower case.
        package var fields: [(name: String, value: String)]

        package init(peer: NetworkAddress?, host: String, fields: [(name: String, value: String)]) {
            self.peer = peer
            self.host = host
            self.fields = fields
        }

        fileprivate func values(_ name: String) -> [String] { fields.filter { $0.name == name }.map(\.value) }
    }

    /// The reason why a request may not administer.
    package struct Denial: Error, Equatable {
        /// 401 where a token would help, else 403.
        package let status: Int
        package let reason: String
    }

    private let rule: Rule

    private init(_ rule: Rule) { self.rule = rule }

    /// The rule of the Unix socket: the kernel has already checked who may open it.
    package static let socket = AdminAccess(.everyone)
    /// Whether this is the rule of the Unix socket, whose clients may make this server open files.
    package var isSocket: Bool { if case .everyone = rule { true } else { false } }

    /// The rule of a port that serves images only.
    package static let closed = AdminAccess(.nobody)

    /// The rule of the port that serves images.
    /// - Parameter isOpen: `adminOnServingPort`.
    /// - Throws: when it is open and no token is set.
    package static func servingPort(isOpen: Bool, token: Secret?) throws(Refusal) -> AdminAccess {
        guard isOpen else { return closed }
        guard let token else { throw Refusal("adminOnServingPort: \(ConfigRules.servingPortNeedsToken)") }
        return AdminAccess(.token(token))
    }

    /// The rule of a listener that serves administration only.
    /// - Throws: when other machines could reach it and no token is set.
    package static func listener(host: String, token: Secret?) throws(Refusal) -> AdminAccess {
        if let token { return AdminAccess(.token(token)) }
        guard NetworkAddress(literal: host)?.isLoopback == true else {
            throw Refusal(
                "adminListen: \(host) is not a loopback address, so adminToken or adminTokenFromEnv must be set")
        }
        return AdminAccess(.localOperator)
    }

    /// Nil when the request may administer.
    package func denial(_ origin: Origin) -> Denial? {
        switch rule {
        case .everyone: nil
        case .nobody: AdminAccess.elsewhere
        case .token(let token): AdminAccess.denial(origin, token)
        case .localOperator:
            AdminAccess.reason(origin).map {
                Denial(status: 403, reason: "administration is not open to this request: \($0)")
            }
        }
    }

    /// Clients without access see this text, so it names no path of this machine.
    private static let elsewhere = Denial(
        status: 403,
        reason: "administration is not answered on this port: "
            + "use the Unix socket in the cache's directory, or the address of adminListen")

    // MARK: A token

    private static func denial(_ origin: Origin, _ token: Secret) -> Denial? {
        let given = origin.values("authorization")
        let bearer = "bearer "
        guard given.count == 1, given[0].utf8.count > bearer.utf8.count,
            String(given[0].prefix(bearer.count)).asciiLowercased == bearer
        else { return Denial(status: 401, reason: "administration here takes Authorization: Bearer, with the token") }
        let isRight = isEqual(Array(given[0].utf8.dropFirst(bearer.utf8.count)), Array(token.revealed.utf8))
        return isRight ? nil : Denial(status: 401, reason: "that is not the token for administration")
    }

    /// Compares in constant time: a nearly right token takes as long as a wrong one.
    static func isEqual(_ given: [UInt8], _ expected: [UInt8]) -> Bool {
        var difference = given.count ^ expected.count
        for index in given.indices where !expected.isEmpty {
            difference |= Int(given[index] ^ expected[index % expected.count])
        }
        return difference == 0
    }

    // MARK: A loopback address without a token

    /// Whether a proxy adds this field; then the client is not the peer.
    private static func isForwarding(_ name: String) -> Bool {
        name.hasPrefix("x-forwarded-") || ["forwarded", "x-real-ip", "via"].contains(name)
    }

    private static func reason(_ origin: Origin) -> String? {
        guard let peer = origin.peer, peer.isLoopback else { return "it does not come from this machine" }
        // DNS rebinding: a web page whose name resolves to 127.0.0.1 sends that name.
        let hosts = [origin.host] + origin.values("host")
        guard hosts.allSatisfy(isLoopback) else { return "its Host is not a loopback one" }
        if let field = origin.fields.first(where: { isForwarding($0.name) }) {
            return "it has been forwarded (\(field.name))"
        }
        guard origin.values("origin").isEmpty else { return "it comes from a web page (Origin)" }
        let sites = origin.values("sec-fetch-site")
        guard sites.allSatisfy({ $0 == "same-origin" || $0 == "none" }) else {
            return "it comes from a web page (Sec-Fetch-Site)"
        }
        // For browsers that do not send Sec-Fetch-Site.
        guard !sites.isEmpty || origin.values("referer").isEmpty else { return "it comes from a web page (Referer)" }
        return nil
    }

    /// `localhost`, an address of 127.0.0.0/8 or `[::1]`, with or without a port.
    static func isLoopback(host text: String) -> Bool {
        var name = text[...]
        if let colon = name.utf8.lastIndex(of: 0x3A), !name.utf8[colon...].contains(0x5D) { name = name[..<colon] }
        let lower = String(name).asciiLowercased
        if lower == "localhost" { return true }
        // An IPv6 address without brackets is no host.
        guard !lower.contains(":") || lower.hasPrefix("[") else { return false }
        return NetworkAddress(literal: lower)?.isLoopback == true
    }
}
