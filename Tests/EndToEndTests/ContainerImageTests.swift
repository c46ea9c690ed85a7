// The file system of the container image, made from this machine's own libraries. scripts/soak image builds the real
// one, and runs it.

import Foundation
import TestSupport
import Testing

@Suite struct ContainerImageTests {
    private static let script = "\(Checkout.root)/scripts/package.d/image_files.py"

    /// curl stands for the server: it needs as many libraries, and runs without a network.
    @Test(
        "a program and what image_files.py lays around it run without the rest of the system",
        .needs(.root, .curl, .python3))
    func selfContained() throws {
        let files = try TemporaryDirectory()
        let target = try files.directory("image")
        let curl = try #require(
            ["/usr/bin/curl", "/usr/local/bin/curl"].first { FileManager.default.isExecutableFile(atPath: $0) })
        let listing = try Command.check(["python3", Self.script, "/", curl, target])
        #expect(String(decoding: listing, as: UTF8.self).contains("libc.so.6 "))
        let version = try Command.check(["unshare", "--root=\(target)", "/usr/bin/ociregistry", "--version"])
        #expect(String(decoding: version, as: UTF8.self).hasPrefix("curl "))
        #expect(!FileManager.default.fileExists(atPath: "\(target)/usr/bin/sh"))
        let volume = try FileManager.default.attributesOfItem(atPath: "\(target)/var/lib/ociregistry")
        #expect(volume[.posixPermissions] as? Int == 0o2775)
        #expect(volume[.ownerAccountID] as? Int == 65532 && volume[.groupOwnerAccountID] as? Int == 0)
    }

    @Test("a library that the root does not have is named", .needs(.root, .curl, .python3))
    func missingLibrary() throws {
        let files = try TemporaryDirectory()
        let arguments = [
            "python3", Self.script, try files.directory("root"), "/usr/bin/curl", try files.directory("image"),
        ]
        let result = try Command.run(arguments)
        #expect(result.status == 1 && result.errors.contains("is not in "), "\(result)")
    }
}
