// Which answers a client takes as gzip, by what it says in Accept-Encoding.

import TestSupport
import Testing

@testable import Registry

@Suite struct AcceptEncodingTests {
    @Test(
        "gzip is used where the client accepts it and does not prefer identity",
        arguments: [
            (["gzip"], true), (["GZIP"], true), (["x-gzip"], true), (["deflate, gzip, br"], true), (["*"], true),
            (["gzip;q=1.000"], true), (["gzip; q=0.001"], true), (["gzip ;\tq=0.5 , identity;q=0.5"], true),
            (["identity;q=0, gzip;q=0.1"], true), (["*;q=0, gzip"], true), (["br", "gzip"], true), ([",,gzip,"], true),
            (["gzip;q=0.1, *;q=0"], true), (["identity;q=0, *"], true),
            ([], false), ([""], false), (["identity"], false), (["br, zstd"], false), (["gzip;q=0"], false),
            (["gzip;q=0.000"], false), (["gzip;Q=0"], false), (["*;q=0"], false), (["*, gzip;q=0"], false),
            (["gzip;q=0.5, identity"], false), (["*;q=0.5, gzip;q=0.2"], false), (["gzip", "gzip;q=0"], false),
            (["gzip;q=0.2, x-gzip;q=0"], false), (["gzipped"], false), (["x-gzip2"], false),
        ] as [([String], Bool)])
    func preference(_ lines: [String], _ isPreferred: Bool) throws {
        #expect(try Self.prefersGzip(lines) == isPreferred)
    }

    @Test(
        "a malformed weight disables gzip",
        arguments: ["q", "q=", "q=2", "q=1.001", "q=0.1234", "q=.5", "q=-1", "q=0,5", "q=0.x", "q=1.5", "v=1", "q=1 1"])
    func wrongWeight(_ weight: String) throws {
        #expect(try Self.prefersGzip(["gzip;\(weight)"]) == false)
    }

    private static func prefersGzip(_ lines: [String]) throws -> Bool {
        let fields = lines.map { "Accept-Encoding: \($0)\r\n" }.joined()
        let text = "GET /metrics HTTP/1.1\r\nHost: a\r\n\(fields)\r\n"
        let head = try Feeding.head(text)
        return Array(text.utf8).withUnsafeBytes { AcceptEncoding(Headers(head, in: $0)).prefersGzip }
    }
}
