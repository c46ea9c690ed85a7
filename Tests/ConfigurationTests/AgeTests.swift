// Spans of time, and the keys of administration.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct AgeTests {
    @Test(
        "an age is a whole number and a unit from ns to d, up to 36500d",
        arguments: [
            ("1ns", 1), ("7us", 7000), ("7µs", 7000), ("5ms", 5_000_000), ("45s", 45_000_000_000),
            ("2m", 120_000_000_000), ("3h", 10_800_000_000_000), ("30d", 2_592_000_000_000_000),
            ("36500d", 3_153_600_000_000_000_000),
        ] as [(String, Int64)])
    func validAges(_ text: String, _ nanoseconds: Int64) throws {
        #expect(try Age(text).nanoseconds == nanoseconds)
    }

    @Test(
        "an age without a number, a known unit or a value in range is refused",
        arguments: [
            "", "30", "d", "0d", "00s", "-5d", "+5d", "5.5d", "30x", "30dd", "1d2h", " 30d", "30d ", "30 d", "30D",
            "abcd",
            "36501d", "99999999999999d", "99999999999999999999999d", "9223372036854775807ns", "٣d",
        ])
    func invalidAges(_ text: String) {
        #expect(throws: Refusal.self) { _ = try Age(text) }
    }

    /// What is a part of a second younger than asked for is not older.
    @Test("the time an age ago is rounded down to whole seconds") func rounding() throws {
        #expect(try Age("10s").before(nowSeconds: 100) == 90)
        #expect(try Age("1ns").before(nowSeconds: 100) == 99)
        #expect(try Age("1001ms").before(nowSeconds: 100) == 98)
    }
}

@Suite struct AdminConfigTests {
    private func config(_ yaml: String, _ environment: [String: String] = [:]) throws -> Config {
        try ConfigDecoder.decode(yaml: Array(yaml.utf8), file: "f") { environment[$0] }
    }

    @Test(
        "adminListen is an address and a port, and loopback where the address is left out",
        arguments: [
            ("127.0.0.1:9000", "127.0.0.1", 9000), ("localhost:1", "127.0.0.1", 1), ("0.0.0.0:0", "0.0.0.0", 0),
            ("[::1]:9000", "::1", 9000), ("9000", "127.0.0.1", 9000),
        ] as [(String, String, UInt16)])
    func listenAddresses(_ text: String, _ host: String, _ port: UInt16) throws {
        #expect(try config("adminListen: \"\(text)\"").adminListen == ListenPoint(host: host, port: port))
    }

    @Test(
        "adminListen with a host name or an invalid port is refused",
        arguments: ["::1:9000", "example.com:1", "127.0.0.1:", ":9000", "127.0.0.1:65536", "x", "[::1]"])
    func wrongListenAddresses(_ text: String) {
        #expect(throws: ConfigError.self) { _ = try config("adminListen: \"\(text)\"") }
    }

    @Test("the admin token comes from one source, is visible ASCII and is needed on the serving port")
    func adminToken() throws {
        #expect(try config("adminToken: sesame").adminToken == Secret("sesame"))
        #expect(try config("adminTokenFromEnv: T", ["T": "sesame"]).adminToken == Secret("sesame"))
        #expect(try config("adminToken:\nadminListen:\nadminTokenFromEnv:\nadminOnServingPort:") == Config())
        #expect(try config("adminOnServingPort: true\nadminTokenFromEnv: T", ["T": "t"]).adminOnServingPort)
        // One problem, not two.
        let error = #expect(throws: ConfigError.self) {
            _ = try config("adminOnServingPort: true\nadminTokenFromEnv: U")
        }
        #expect(error?.problems.map(\.key) == ["adminTokenFromEnv"])
        for (yaml, message) in [
            ("adminToken: a\nadminTokenFromEnv: T", "f:2: adminTokenFromEnv: adminToken is set too"),
            ("adminTokenFromEnv: U", "f:1: adminTokenFromEnv: the environment variable \"U\" is not set"),
            ("adminToken: \"a b\"", "f:1: adminToken: must be visible ASCII"),
            ("port: 1\nadminOnServingPort: true", "f:2: adminOnServingPort: needs adminToken or adminTokenFromEnv"),
            ("adminOnServingPort: true\nadminToken:", "f:1: adminOnServingPort: needs adminToken or adminTokenFromEnv"),
        ] {
            let error = #expect(throws: ConfigError.self) { _ = try config(yaml, ["T": "t"]) }
            #expect(error?.description.hasPrefix(message) == true, "\(error?.description ?? "-")")
        }
    }
}
