// The destinations that need no proxy. The list is read as Go's programs read NO_PROXY, since operators' lists are
// written for those (golang.org/x/net/http/httpproxy); curl's own reading differs in ports and leading dots.

internal import OCI

/// A list of destinations that are reached directly, as in `noProxy` and `NO_PROXY`.
package struct NoProxyList: Sendable, Equatable {
    /// More destinations than an operator writes by hand.
    static let maximumEntries = 1000

    private enum Entry: Sendable, Equatable {
        case network([UInt8], bits: Int)
        case address(IPAddress, port: UInt16?)
        /// `suffix` begins with a dot; `hasApex`: the name without that dot matches too.
        case domain(suffix: String, hasApex: Bool, port: UInt16?)
    }

    /// Whether the list has a `*`.
    private var coversAll = false
    private var entries: [Entry] = []

    package init() {}

    /// Reads a list and refuses it when an entry is invalid.
    package init(_ text: String) throws(Refusal) {
        let words = NoProxyList.words(text)
        guard words.count <= NoProxyList.maximumEntries else {
            throw Refusal("must have at most \(NoProxyList.maximumEntries) entries, not \(words.count)")
        }
        for word in words where !add(word) {
            throw Refusal(
                "must be hosts, .domains, addresses and networks (10.0.0.0/8), or *, with commas between; "
                    + "\(ConfigRules.shown(word)) is none of them")
        }
    }

    /// Reads a list and ignores invalid entries, as Go does for the environment.
    package init(ignoringErrorsIn text: String) {
        for word in NoProxyList.words(text).prefix(NoProxyList.maximumEntries) { _ = add(word) }
    }

    private static func words(_ text: String) -> [String] {
        text.split(separator: ",").map { word in
            let visible = word.drop { $0 == " " || $0 == "\t" }
            let spaces = visible.reversed().prefix { $0 == " " || $0 == "\t" }.count
            return visible.dropLast(spaces).lowercased()
        }.filter { !$0.isEmpty }
    }

    // MARK: Reading

    private mutating func add(_ word: String) -> Bool {
        if word == "*" {
            coversAll = true
            return true
        }
        guard let entry = word.contains("/") ? NoProxyList.network(word) : NoProxyList.single(word) else {
            return false
        }
        entries.append(entry)
        return true
    }

    /// `address/bits`.
    private static func network(_ word: String) -> Entry? {
        let parts = word.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let bytes = IPAddress.bytes(of: String(parts[0])),
            let bits = OutsideNumber.decimal(parts[1], in: 0...bytes.count * 8)
        else { return nil }
        // Destinations are compared as IPv4 where they are IPv4 inside IPv6.
        if IPAddress.isMapped(bytes), bits >= 96 { return .network(Array(bytes[12...]), bits: bits - 96) }
        return .network(bytes, bits: bits)
    }

    /// A host, domain or address, with or without a port.
    private static func single(_ word: String) -> Entry? {
        if let address = IPAddress(word) { return .address(address, port: nil) }
        var host = word[...]
        var port: UInt16?
        if let colon = word.lastIndex(of: ":") {
            guard let number = OutsideNumber.decimal(word[word.index(after: colon)...], in: 1...UInt16.max) else {
                return nil
            }
            (host, port) = (word[..<colon], number)
        }
        // Without brackets an IPv6 address and a port cannot be told apart.
        if let address = IPAddress(host) {
            return host.contains(":") && !host.hasPrefix("[") ? nil : .address(address, port: port)
        }
        let hasApex = !host.hasPrefix(".") && !host.hasPrefix("*.")
        let name = hasApex ? host : host.drop { $0 == "*" }.dropFirst()
        guard let valid = RegistryHost(String(name)), valid.port == nil, !name.hasPrefix("[") else { return nil }
        return .domain(suffix: ".\(name)", hasApex: hasApex, port: port)
    }

    // MARK: Use

    /// Whether this destination is reached directly.
    /// - Parameter host: lower case; an IPv6 address in brackets.
    package func covers(host: String, port: UInt16) -> Bool {
        if coversAll { return true }
        let address = IPAddress(host)
        return entries.contains { entry in
            switch (entry, address) {
            case (.network(let bytes, let bits), let address?): NoProxyList.contains(bytes, bits, address)
            case (.address(let own, let ownPort), let address?): own == address && ownPort ?? port == port
            case (.domain(let suffix, let hasApex, let ownPort), nil):
                ownPort ?? port == port && (host.hasSuffix(suffix) || (hasApex && host == suffix.dropFirst()))
            default: false
            }
        }
    }

    private static func contains(_ network: [UInt8], _ bits: Int, _ address: IPAddress) -> Bool {
        guard network.count == address.bytes.count else { return false }
        return network.indices.allSatisfy { index in
            let own = min(max(bits - index * 8, 0), 8)
            let mask = UInt8(truncatingIfNeeded: 0xFF00 >> own)
            return network[index] & mask == address.bytes[index] & mask
        }
    }
}
