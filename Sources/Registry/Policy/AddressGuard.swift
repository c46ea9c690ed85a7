// The rule for addresses that an upstream may lead to. A redirect, a token realm or a DNS answer that points at this
// machine, its link or a cloud metadata service would turn the server against its own host, so such addresses are used
// only where the configuration names their host. The same holds for private networks with `privateUpstreams: deny`.

/// The kinds of address that an upstream may not lead to, unless the configuration names the host.
package enum AddressRestriction: Sendable, Equatable {
    case local
    case metadataService
    /// With `privateUpstreams: deny` only.
    case privateNetwork

    /// For the log, after the address.
    package var text: String {
        switch self {
        case .local: "a loopback, link-local or multicast address"
        case .metadataService: "the address of a cloud metadata service"
        case .privateNetwork: "a private address (privateUpstreams: deny)"
        }
    }
}

/// Decides which addresses one request may connect to.
package struct AddressGuard: Sendable {
    /// Whether the configuration names the request's host; then every address is admitted.
    package var hostIsConfigured: Bool
    /// Whether private networks are refused as well.
    package var refusesPrivate: Bool
    /// Whether the request goes through a proxy: curl then connects to nothing else, and operators name its address.
    package var isProxied = false

    package init(hostIsConfigured: Bool, refusesPrivate: Bool = false) {
        self.hostIsConfigured = hostIsConfigured
        self.refusesPrivate = refusesPrivate
    }

    /// Why the address is not admitted; nil when it is.
    package func restriction(of address: NetworkAddress) -> AddressRestriction? {
        hostIsConfigured || isProxied ? nil : address.restriction(refusesPrivate: refusesPrivate)
    }

    package func admits(_ address: NetworkAddress) -> Bool { restriction(of: address) == nil }

    /// The restriction of a host that its text in a URL alone tells; nil for other names.
    package static func restriction(ofHost host: String, refusesPrivate: Bool) -> AddressRestriction? {
        if let address = NetworkAddress(literal: host) { return address.restriction(refusesPrivate: refusesPrivate) }
        // A name with a final dot is the same name (RFC 1034 §3.1).
        let name = host.hasSuffix(".") ? String(host.dropLast()) : host
        // RFC 6761 §6.3: these names never leave the machine.
        if name == "localhost" || name.hasSuffix(".localhost") { return .local }
        // A proxy would look it up. Source: Google Cloud, "About VM metadata".
        return name == "metadata.google.internal" ? .metadataService : nil
    }
}

extension NetworkAddress {
    /// - Parameter refusesPrivate: whether private networks are restricted.
    package func restriction(refusesPrivate: Bool) -> AddressRestriction? {
        if isMetadataService { return .metadataService }
        if isLocal { return .local }
        return refusesPrivate && isPrivate ? .privateNetwork : nil
    }

    /// Whether it is loopback, link-local, unspecified, multicast or broadcast, or an IPv6 address that embeds such an
    /// IPv4 address.
    package var isLocal: Bool {
        if embeddedIPv4.contains(where: { NetworkAddress.isLocal($0) }) { return true }
        // fe80::/10 link-local, ff00::/8 multicast (RFC 4291 §2.4).
        return bytes.count == 16 && (bytes[0] == 0xFF || (bytes[0] == 0xFE && bytes[1] & 0xC0 == 0x80))
    }

    /// Whether it is on a private network, or embeds such an IPv4 address: 10/8, 172.16/12, 192.168/16 (RFC 1918),
    /// 100.64/10 (RFC 6598), fc00::/7 (RFC 4193) and fec0::/10 (site-local, deprecated by RFC 3879).
    package var isPrivate: Bool {
        if embeddedIPv4.contains(where: { NetworkAddress.isPrivate($0) }) { return true }
        return bytes.count == 16 && (bytes[0] & 0xFE == 0xFC || (bytes[0] == 0xFE && bytes[1] & 0xC0 == 0xC0))
    }

    /// Whether a cloud provider's metadata service, or an agent that gives out credentials, has this address on all of
    /// its machines.
    package var isMetadataService: Bool {
        embeddedIPv4.contains { NetworkAddress.metadataIPv4.contains(Array($0)) }
            || (bytes.count == 16 && NetworkAddress.metadataIPv6.contains(bytes))
    }

    // MARK: Embedded IPv4 addresses

    /// The IPv4 addresses that it stands for: itself, or what is embedded in it. Some forms do not say where the
    /// embedded address is, so that there are several readings.
    private var embeddedIPv4: [ArraySlice<UInt8>] {
        guard bytes.count == 16 else { return [bytes[...]] }
        let hasPrefix = { (prefix: [UInt8]) in bytes.starts(with: prefix) }
        // ::/96 (IPv4-compatible), where ::1 and :: read as addresses of 0.0.0.0/8, ::ffff:0:0/96 (IPv4-mapped, RFC
        // 4291 §2.5.5) and ::ffff:0:0:0/96 (IPv4-translated, RFC 2765 §2.1).
        let zeros = bytes.prefix { $0 == 0 }.count
        if zeros >= 12 || (zeros == 10 && bytes[10] == 0xFF && bytes[11] == 0xFF) { return [bytes[12...]] }
        if zeros == 8, bytes[8..<12].elementsEqual([0xFF, 0xFF, 0, 0]) { return [bytes[12...]] }
        // 64:ff9b::/96, for translators (RFC 6052 §2.1).
        if hasPrefix([0, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0]) { return [bytes[12...]] }
        if hasPrefix([0, 0x64, 0xFF, 0x9B, 0, 1]) { return localNAT64Candidates }
        // 6to4 (RFC 3056 §2).
        if hasPrefix([0x20, 0x02]) { return [bytes[2..<6]] }
        // Teredo: the server's address, and the client's with all bits inverted (RFC 4380 §4).
        if hasPrefix([0x20, 0x01, 0, 0]) { return [bytes[4..<8], bytes[12...].map { ~$0 }[...]] }
        return []
    }

    /// The readings of an address of 64:ff9b:1::/48, which is for translators with prefixes of an own choice (RFC
    /// 8215): of 96 bits, or of 48, 56 and 64 bits, which leave the last three bytes zero (RFC 6052 §2.2).
    private var localNAT64Candidates: [ArraySlice<UInt8>] {
        guard bytes[13...].allSatisfy({ $0 == 0 }) else { return [bytes[12...]] }
        // Byte 8 is reserved and not part of the IPv4 address.
        return [bytes[6..<8] + bytes[9..<11], bytes[7..<8] + bytes[9..<12], bytes[9..<13]]
    }

    // MARK: Ranges

    /// 0/8, 127/8, 169.254/16, 224/4 and broadcast (RFC 6890 §2.2.2).
    private static func isLocal(_ four: ArraySlice<UInt8>) -> Bool {
        let (first, second) = (four[four.startIndex], four[four.startIndex + 1])
        if first == 0 || first == 127 || (224...239).contains(first) { return true }
        return (first == 169 && second == 254) || four.allSatisfy { $0 == 255 }
    }

    private static func isPrivate(_ four: ArraySlice<UInt8>) -> Bool {
        let (first, second) = (four[four.startIndex], four[four.startIndex + 1])
        return switch first {
        case 10: true
        case 100: second & 0xC0 == 64
        case 172: second & 0xF0 == 16
        case 192: second == 168
        default: false
        }
    }

    private static let metadataIPv4: [[UInt8]] = [
        // AWS, Azure, Google Cloud, Oracle and others; it is link-local.
        [169, 254, 169, 254],
        // Alibaba Cloud.
        [100, 100, 100, 200],
        // Azure's wire server (Microsoft Learn, "What is IP address 168.63.129.16?").
        [168, 63, 129, 16],
        // Oracle Cloud Infrastructure Classic.
        [192, 0, 0, 192],
    ]

    private static let metadataIPv6: [[UInt8]] = [
        // AWS: fd00:ec2::254 (EC2) and fd00:ec2::23 (EKS Pod Identity).
        [0xFD, 0, 0x0E, 0xC2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54],
        [0xFD, 0, 0x0E, 0xC2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x23],
        // Google Cloud: fd20:ce::254.
        [0xFD, 0x20, 0, 0xCE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54],
        // Oracle Cloud Infrastructure: fd00:c1::a9fe:a9fe.
        [0xFD, 0, 0, 0xC1, 0, 0, 0, 0, 0, 0, 0, 0, 0xA9, 0xFE, 0xA9, 0xFE],
        // Scaleway: fd00:42::42.
        [0xFD, 0, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x42],
    ]
}
