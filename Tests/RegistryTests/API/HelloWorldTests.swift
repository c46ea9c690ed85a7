// The built-in image: that it is whole, that its program works, and that the program is the one built from source.

import Foundation
import TestSupport
import Testing

@testable import BuiltinImage
@testable import OCI
@testable import Registry

@Suite struct HelloWorldTests {
    private let image = HelloWorldImage()

    @Test("hello-world's digests are those of its manifests and blobs") func digests() {
        for entry in image.manifests { #expect(entry.digest == Self.hash(entry.bytes)) }
        for entry in image.blobs { #expect(entry.digest == Self.hash(entry.bytes)) }
    }

    /// The digests are part of the product: what was pulled yesterday is the same today.
    @Test("hello-world's index digest is the published one") func stableIndex() {
        #expect(image.indexDigest.description == Self.indexDigest)
        #expect(image.indexDigest == HelloWorldImage().indexDigest)
    }

    @Test("hello-world's index leads to every manifest and blob with its size") func blobs() throws {
        let index = try #require(image.manifests.first { $0.digest == image.indexDigest })
        #expect(index.mediaType == .ociIndex)
        let platforms = try Manifest.decode(index.bytes, contentType: index.mediaType.text).manifests
        #expect(platforms.count == 2)
        var reached: Set<Digest> = []
        for platform in platforms {
            let entry = try #require(image.manifests.first { $0.digest == platform.digest })
            #expect(platform.sizeBytes == Int64(entry.bytes.count))
            let manifest = try Manifest.decode(entry.bytes, contentType: entry.mediaType.text)
            for descriptor in [try #require(manifest.config)] + manifest.layers {
                let blob = try #require(image.blobs.first { $0.digest == descriptor.digest })
                #expect(descriptor.sizeBytes == Int64(blob.bytes.count))
                reached.insert(descriptor.digest)
            }
        }
        #expect(reached == Set(image.blobs.map(\.digest)))
    }

    @Test("tar unpacks hello-world's layer, and the program runs") func layer() throws {
        let directory = try TemporaryDirectory()
        let archive = try directory.write(HelloWorldImage.archive(of: Self.native, named: "hello"), to: "layer.tar")
        let listing = String(
            decoding: try Command.check(["tar", "-tvf", archive], environment: ["TZ": "UTC"]), as: UTF8.self)
        #expect(listing.hasPrefix("-rwxr-xr-x root/root"))
        #expect(listing.contains("1970-01-01 00:00 hello"))
        try Command.check(["tar", "-xf", archive, "-C", directory.path, "--no-same-owner"])
        let greeting = try Command.check([directory.file("hello")])
        #expect(String(decoding: greeting, as: UTF8.self).hasPrefix("Hello! "))
    }

    /// Compilers differ in the bytes they make, so a rebuilt program is held to what it does.
    @Test("hello-world's programs behave like those built from the source") func programs() throws {
        let directory = try TemporaryDirectory()
        try Command.check(["\(Checkout.root)/scripts/hello-world/build", directory.path])
        let committed = try directory.write(Self.native, to: "committed")
        #expect(chmod(committed, 0o755) == 0)
        let greeting = try Command.check([committed])
        #expect(try Command.check([directory.file("hello-\(Self.nativePlatform)")]) == greeting)
        for (platform, machine, program) in [
            ("amd64", UInt8(0x3E), HelloWorldPrograms.amd64), ("arm64", 0xB7, HelloWorldPrograms.arm64),
        ] {
            let rebuilt = [UInt8](try Data(contentsOf: URL(fileURLWithPath: directory.file("hello-\(platform)"))))
            for bytes in [program, rebuilt] {
                // ELF, 64 bits, little-endian, a fixed executable for that machine (System V ABI, "ELF Header").
                #expect(bytes.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2, 1]))
                #expect(bytes[16] == 2 && bytes[18] == machine)
                #expect(Data(bytes).range(of: Data(greeting)) != nil)
            }
        }
    }

    private static let indexDigest = "sha256:25bc005482104c5f65c78fcb205b8beb43565fde1de4e80dec06ca8b1d673724"
    #if arch(arm64)
        private static let nativePlatform = "arm64"
        private static let native = HelloWorldPrograms.arm64
    #else
        private static let nativePlatform = "amd64"
        private static let native = HelloWorldPrograms.amd64
    #endif

    private static func hash(_ bytes: [UInt8]) -> Digest { bytes.withUnsafeBytes { SHA256.hash($0) } }
}
