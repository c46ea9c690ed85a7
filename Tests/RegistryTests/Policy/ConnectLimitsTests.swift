// The phases of connecting, without a socket.

import TestSupport
import Testing

@testable import Registry

@Suite struct ConnectLimitsTests {
    private static let limits: ConnectLimits = {
        var limits = ConnectLimits()
        limits.lookupMilliseconds = 100
        limits.connectMilliseconds = 200
        limits.proxyMilliseconds = 300
        limits.tlsMilliseconds = 1500
        return limits
    }()

    private static func exceeded(_ phases: ConnectPhases, _ now: UInt64) -> String? {
        phases.exceeded(limits, name: "registry.test", now: now)
    }

    @Test("each phase of connecting has its own limit from its start, and errors name it")
    func phases() {
        var phases = ConnectPhases(now: 1000)
        #expect(Self.exceeded(phases, 1099) == nil)
        #expect(Self.exceeded(phases, 1100) == "name lookup of registry.test took longer than 100 ms")
        phases.socketOpened(now: 1090)
        #expect(Self.exceeded(phases, 1289) == nil)
        #expect(Self.exceeded(phases, 1290) == "connecting to registry.test took longer than 200 ms")
        phases.socketConnected(toProxy: true, now: 1280)
        #expect(Self.exceeded(phases, 1579) == nil)
        #expect(
            Self.exceeded(phases, 1580)
                == "the proxy's answer to CONNECT for registry.test took longer than 300 ms")
        phases.proxyAnswered(now: 1570)
        #expect(Self.exceeded(phases, 3069) == nil)
        #expect(Self.exceeded(phases, 3070) == "TLS handshake with registry.test took longer than 1500 ms")
        phases.connected()
        #expect(Self.exceeded(phases, .max) == nil)
    }

    @Test("further addresses and sockets do not restart the phase")
    func furtherAddresses() {
        var phases = ConnectPhases(now: 0)
        phases.socketOpened(now: 10)
        phases.socketOpened(now: 150)
        #expect(Self.exceeded(phases, 210) != nil)
        phases.socketConnected(toProxy: false, now: 200)
        phases.socketConnected(toProxy: false, now: 1000)
        phases.socketOpened(now: 1100)
        #expect(phases.phase == .tls)
        #expect(Self.exceeded(phases, 1700) != nil)
    }

    @Test("a second connection for the same request starts with fresh limits")
    func secondConnection() {
        var phases = ConnectPhases(now: 0)
        phases.connected()
        phases.lookupBegan(now: 5000)
        #expect(phases.phase == .lookup)
        #expect(Self.exceeded(phases, 5099) == nil && Self.exceeded(phases, 5100) != nil)
        phases.connected()
        phases.socketOpened(now: 9000)
        #expect(Self.exceeded(phases, 9199) == nil && Self.exceeded(phases, 9200) != nil)
    }

    @Test("limits are checked several times within the shortest of them, but not constantly")
    func checkInterval() {
        #expect(ConnectLimits().checkMilliseconds == 500)
        var short = ConnectLimits()
        short.addressMilliseconds = 100
        #expect(short.checkMilliseconds == 25)
        short.tlsMilliseconds = 1
        #expect(short.checkMilliseconds == 10)
    }

    @Test("a client's network is its IPv4 address, or the /64 of its IPv6 address")
    func clientNetworks() throws {
        let network = { (text: String) in NetworkAddress(literal: text)?.clientNetwork.text }
        #expect(network("192.0.2.7") == "192.0.2.7")
        #expect(network("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::")
        #expect(network("::ffff:192.0.2.7") == "::ffff:192.0.2.7")
    }
}
