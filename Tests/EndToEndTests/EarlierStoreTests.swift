// Caches of earlier versions. `Tests/Stores` has one for each set of files that versions have written, made by such a
// version's program: `before-0.1.0` is from the time before PROOFS, CHECKS, LEDGER and lists.

import Foundation
import TestSupport
import Testing

@Suite(.needs(.curl)) struct EarlierStoreTests {
    private static let stores = "\(Checkout.root)/Tests/Stores"
    private static let repository = "registry.example/team/app"

    /// Path under a directory to content.
    private func content(of directory: String) throws -> [String: Data] {
        let names = FileManager.default.enumerator(atPath: directory)?.compactMap { $0 as? String } ?? []
        var files: [String: Data] = [:]
        for name in names {
            var isDirectory: ObjCBool = false
            let path = "\(directory)/\(name)"
            // The administration socket has no content.
            guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), !isDirectory.boolValue,
                !name.hasSuffix("/ADMIN")
            else { continue }
            files[name] = try Data(contentsOf: URL(fileURLWithPath: path))
        }
        return files
    }

    private func get(_ path: String, from server: OciRegistryProcess) throws -> Data {
        Data(
            try Command.check([
                "curl", "-s", "-f", "-H", "Accept: application/vnd.oci.image.index.v1+json",
                "http://\(server.address)/v2/\(Self.repository)/\(path)",
            ]))
    }

    @Test(
        "a cache of an earlier version is served whole, and every file of it stays as it was",
        arguments: ["before-0.1.0"])
    func isServed(version: String) throws {
        let files = try TemporaryDirectory()
        let cache = files.file("images")
        try FileManager.default.copyItem(atPath: "\(Self.stores)/\(version)", toPath: cache)
        let earlier = try content(of: cache)
        let server = try OciRegistryProcess(imagePath: cache, settings: "airGapped: true")
        var count = 0
        for (name, bytes) in earlier {
            let digest = name.split(separator: "/").suffix(3)
            guard let algorithm = digest.first, let hex = digest.last else { continue }
            if name.contains("/blobs/") {
                #expect(try get("blobs/\(algorithm):\(hex)", from: server) == bytes, "\(name)")
                count += 1
            } else if name.contains("/manifests/") {
                #expect(try get("manifests/\(algorithm):\(hex)", from: server) == bytes, "\(name)")
                count += 1
            } else if name.hasSuffix("/_tags/1.0") {
                let text = String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .newlines)
                let manifest = try get("manifests/\(text)", from: server)
                #expect(try get("manifests/1.0", from: server) == manifest)
                count += 1
            }
        }
        #expect(count == 8)
        let list = try Command.check([Checkout.server, "list", "--image-path", cache, "--json"])
        #expect(String(decoding: list, as: UTF8.self).contains("\"name\":\"\(Self.repository):1.0\""))
        #expect(try server.stop() == 0)

        // An earlier version that runs on it again finds all it has written; what is new lies beside it.
        var later = try content(of: cache)
        for (name, bytes) in earlier where !name.hasSuffix("/ACCESS") {
            #expect(later.removeValue(forKey: name) == bytes, "\(name) was changed or removed")
        }
        let new = Set(later.keys.map { $0.dropFirst("store-v1/".count) })
        #expect(new.isSubset(of: ["ACCESS", "LOCK", "PROOFS", "CHECKS", "LEDGER", "SCRUB"]), "\(new)")
        let access = String(decoding: try #require(later["store-v1/ACCESS"]), as: UTF8.self)
        for line in access.split(separator: "\n") {
            let fields = line.split(separator: " ")
            #expect(fields.count == 2 && Int(fields[0]) != nil && fields[1].hasPrefix("sha256:"), "\(line)")
        }
    }
}
