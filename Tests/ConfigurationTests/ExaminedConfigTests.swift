// A configuration file with all of its problems, and the entry of a host.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI

@Suite struct ExaminedConfigTests {
    @Test("valid keys are decoded beside wrong ones, and top-level keys have their lines") func partial() {
        let yaml = "port: 81\nmetrics: x\nhealth: 82\n"
        let examined = ConfigDecoder.examine(yaml: Array(yaml.utf8), file: "c.yaml", environment: { _ in nil })
        #expect(examined.config.port == 81 && examined.config.healthPort == 82)
        #expect(examined.problems.map(\.key) == ["metrics"])
        #expect(examined.lines == ["port": 1, "metrics": 2, "health": 3])
    }

    @Test("the content of every named file is inspected, and a reason is reported at its key") func inspection() throws
    {
        let files = try TemporaryDirectory()
        for name in ["ca", "crt", "key", "pw", "docker"] { try files.write("", to: name) }
        let path = try files.write(
            """
            tls: {ca: ca}
            dockerConfig: docker
            registries:
            - name: a.test
              tls: {ca: ca, cert: crt, key: key}
              endpoints:
              - {url: "https://a.test", auth: {user: u, passwordFile: pw}}
            """, to: "c.yaml")
        var seen: [String] = []
        let examined = ConfigDecoder.examine(path: path, environment: { _ in nil }) { kind, file in
            seen.append("\(kind) \(file.dropFirst(files.path.count + 1))")
            return kind == .password ? "is wrong" : nil
        }
        #expect(
            seen.sorted() == [
                "authorities ca", "authorities ca", "certificate crt", "dockerConfig docker", "password pw",
                "privateKey key",
            ])
        #expect(
            examined.problems.map(\.description) == [
                "\(path):7: registries[0].endpoints[0].auth.passwordFile: \(files.file("pw")): is wrong"
            ])
    }

    @Test("a host's own entry precedes patterns, and the most specific pattern the others") func entries() throws {
        let names = ["*", "*.corp.example", "a.corp.example", "*.b.corp.example"]
        let entries = RegistryEntries(try names.map { RegistryConfig(name: try RegistryPattern(parsing: $0)) })
        func index(_ host: String) throws -> Int? { entries.index(for: try #require(RegistryHost(host))) }
        #expect(try index("a.corp.example") == 2)
        #expect(try index("c.b.corp.example") == 3)
        #expect(try index("b.corp.example") == 1)
        #expect(try index("quay.io") == 0)
        #expect(RegistryEntries([]).index(for: .dockerHub) == nil)
    }
}
