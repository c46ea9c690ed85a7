// The unit files, as systemd's own tools judge them.

import Foundation
import TestSupport
import Testing

@Suite(.needs(.systemd)) struct UnitFileTests {
    private static let folder = "\(Checkout.root)/packaging/systemd"

    @Test("the sandbox of the service has an exposure of at most 1.5") func exposure() throws {
        let result = try Command.check(
            ["systemd-analyze", "security", "--offline=true", "\(Self.folder)/ociregistry.service"],
            environment: ["SYSTEMD_COLORS": "0"])
        let text = String(decoding: result, as: UTF8.self)
        let line = try #require(text.split(separator: "\n").first { $0.contains("Overall exposure level") })
        let figure = try #require(line.split(separator: ":").last?.split(separator: " ").first.flatMap { Double($0) })
        #expect(figure <= 1.5, "\(text)")
    }

    @Test("systemd finds nothing wrong in the unit files") func verify() throws {
        let files = try TemporaryDirectory()
        // The program is not installed here.
        let service = try String(contentsOfFile: "\(Self.folder)/ociregistry.service", encoding: .utf8)
        let names = [
            try files.write(
                service.replacingOccurrences(of: "/usr/bin/ociregistry", with: "/bin/true"), to: "ociregistry.service"),
            try files.write(
                try String(contentsOfFile: "\(Self.folder)/ociregistry.socket", encoding: .utf8),
                to: "ociregistry.socket"),
        ]
        let result = try Command.run(["systemd-analyze", "verify"] + names)
        #expect(result.status == 0 && result.text.isEmpty, "\(result)")
        #expect(!result.errors.contains("ociregistry"), "\(result)")
    }
}
