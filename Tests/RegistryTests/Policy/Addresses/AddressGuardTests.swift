// Every restricted range of addresses, its edges from both sides, and every form that an IPv4 address is embedded in.

import TestSupport
import Testing

@testable import Registry

@Suite struct AddressGuardTests {
    private static func restriction(_ text: String) -> AddressRestriction? {
        AddressGuard.restriction(ofHost: text, refusesPrivate: true)
    }

    private static let local: [String] = [
        // 0/8, 127/8, 169.254/16, 224/4, broadcast.
        "0.0.0.0", "0.255.255.255", "127.0.0.0", "127.0.0.1", "127.255.255.255", "169.254.0.0", "169.254.169.253",
        "169.254.255.255", "224.0.0.0", "239.255.255.255", "255.255.255.255",
        "::", "::1", "[::1]", "fe80::", "fe80::1", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ff00::", "ff02::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        // RFC 6761 §6.3.
        "localhost", "localhost.", "a.localhost", "a.b.localhost.",
    ]

    private static let privateNetworks: [String] = [
        "10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255", "100.64.0.0",
        "100.127.255.255", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::", "feff::1",
        "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ]

    private static let metadata: [String] = [
        "169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "[fd00:ec2::254]",
        "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "metadata.google.internal",
        "metadata.google.internal.",
    ]

    /// The neighbours of every range, and names that only resemble local ones.
    private static let allowed: [String] = [
        "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
        "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
        "192.0.0.191", "192.0.0.193", "192.167.255.255", "192.169.0.0", "223.255.255.255", "240.0.0.0",
        "255.255.255.254", "8.8.8.8",
        "2001:db8::1", "2001:4860:4860::8888", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::",
        "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::1:0:0", "1::", "::fffe:7f00:1", "::1:ffff:7f00:1",
        "64:ff9a::7f00:1", "64:ff9b:2::7f00:1", "64:ff9b::1:7f00:1", "65:ff9b::7f00:1", "2001:1:7f00:1::",
        "2003:7f00:1::", "::fffe:0:7f00:1", "::ffff:1:7f00:1",
        "example.com", "localhost.example", "127.1.example", "metadata.google.internal.example", "local",
    ]

    @Test("loopback, link-local, multicast, broadcast and unspecified addresses are local", arguments: local)
    func isLocal(_ text: String) {
        #expect(Self.restriction(text) == .local)
        #expect(AddressGuard.restriction(ofHost: text, refusesPrivate: false) == .local)
    }

    @Test("private networks are restricted with privateUpstreams: deny only", arguments: privateNetworks)
    func isPrivate(_ text: String) {
        #expect(Self.restriction(text) == .privateNetwork)
        #expect(AddressGuard.restriction(ofHost: text, refusesPrivate: false) == nil)
    }

    @Test("metadata services are always restricted", arguments: metadata)
    func isMetadata(_ text: String) {
        #expect(Self.restriction(text) == .metadataService)
        #expect(AddressGuard.restriction(ofHost: text, refusesPrivate: false) == .metadataService)
    }

    @Test("the addresses beside each range are allowed", arguments: allowed)
    func passesNameRules(_ text: String) { #expect(Self.restriction(text) == nil) }

    // MARK: Embedded addresses

    /// Forms with one reading, by RFC.
    private static let forms: [(name: String, make: @Sendable ([UInt8]) -> [UInt8])] = [
        ("IPv4-mapped (RFC 4291)", { [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF] + $0 }),
        ("IPv4-compatible (RFC 4291)", { [UInt8](repeating: 0, count: 12) + $0 }),
        ("IPv4-translated (RFC 2765)", { [UInt8](repeating: 0, count: 8) + [0xFF, 0xFF, 0, 0] + $0 }),
        ("NAT64 (RFC 6052)", { [0, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0] + $0 }),
        ("local NAT64, 96 bits (RFC 8215)", { [0, 0x64, 0xFF, 0x9B, 0, 1, 0xAB, 0xCD, 0, 0, 0, 1] + $0 }),
        ("6to4 (RFC 3056)", { [0x20, 0x02] + $0 + [0, 1, 0, 0, 0, 0, 0, 0, 0, 1] }),
        ("Teredo server (RFC 4380)", { [0x20, 1, 0, 0] + $0 + [0, 0, 0, 0, 0xF7, 0xF7, 0xF7, 0xF7] }),
        ("Teredo client (RFC 4380)", { [0x20, 1, 0, 0, 8, 8, 8, 8, 0, 0, 0, 0] + $0.map { ~$0 } }),
    ]

    @Test("an embedded address is judged as the address itself, in every form", arguments: forms.indices)
    func embedded(_ index: Int) throws {
        let form = Self.forms[index]
        for text in Self.local + Self.privateNetworks + Self.metadata + Self.allowed {
            guard let four = NetworkAddress(literal: text), four.bytes.count == 4 else { continue }
            // With three zeros at its end the prefix of a local NAT64 is not known; see below.
            if form.name.contains("96 bits"), four.bytes[1...].allSatisfy({ $0 == 0 }) { continue }
            let six = try #require(NetworkAddress(bytes: form.make(four.bytes)))
            #expect(six.restriction(refusesPrivate: true) == Self.restriction(text), "\(form.name): \(six.text)")
            #expect(Self.restriction("[\(six.text)]") == Self.restriction(text), "\(form.name): \(six.text)")
        }
    }

    @Test("an address behind a local NAT64 of 48, 56 or 64 bits is judged by all its readings")
    func localTranslation() throws {
        func address(_ six: Int, _ bytes: [UInt8]) throws -> NetworkAddress {
            let prefix: [UInt8] = [0, 0x64, 0xFF, 0x9B, 0, 1]
            let own: [UInt8] =
                switch six {
                case 48: bytes[..<2] + [0] + bytes[2...]
                case 56: [77] + bytes[..<1] + [0] + bytes[1...]
                default: [77, 78, 0] + bytes
                }
            let used = prefix + own
            return try #require(NetworkAddress(bytes: used + [UInt8](repeating: 0, count: 16 - used.count)))
        }
        for length in [48, 56, 64] {
            for (four, expected) in [
                ([127, 0, 0, 1], AddressRestriction.local), ([169, 254, 1, 1], .local),
                ([169, 254, 169, 254], .metadataService), ([100, 100, 100, 200], .metadataService),
            ] as [([UInt8], AddressRestriction)] {
                let made = try address(length, four)
                #expect(made.restriction(refusesPrivate: false) == expected, "\(length): \(made.text)")
            }
            // Other readings of these may be local ones, which then counts.
            for four in [[10, 1, 2, 3], [172, 16, 9, 9], [192, 168, 1, 1], [100, 64, 1, 1]] as [[UInt8]] {
                let made = try address(length, four)
                #expect(made.restriction(refusesPrivate: true) != nil, "\(length): \(made.text)")
                #expect(made.isPrivate, "\(length): \(made.text)")
            }
            let outside = try address(length, [93, 184, 216, 34])
            #expect(outside.restriction(refusesPrivate: true) == nil, "\(length): \(outside.text)")
        }
    }

    @Test("names and numbers in other notations are read as the URL parser writes them")
    func notations() throws {
        for text in [
            "https://2130706433/", "https://0x7f.1/", "https://0177.0.0.1/", "https://127.1/",
            "https://[0:0:0:0:0:FFFF:7F00:1]/", "https://LOCALHOST/", "https://169.254.43518/",
            "https://%31%32%37.0.0.1/",
        ] {
            // A URL that cannot be parsed leads nowhere.
            guard let url = UpstreamURL(text) else { continue }
            #expect(Self.restriction(url.host) != nil, "\(text) as \(url.host)")
        }
    }
}
