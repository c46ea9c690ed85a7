// System calls that a file system or a filter of system calls refuses: each has another way, and what is served is
// right. strace answers for the kernel.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite(.needs(.strace, .curl, .sampleImages)) struct RefusedCallsTests {
    private let files: TemporaryDirectory
    private let trace: String

    init() throws {
        files = try TemporaryDirectory()
        trace = files.file("trace")
    }

    /// A server under strace that knows what is in its cache: before that it opens files in another way.
    /// - Parameter injection: what strace injects, further options before it.
    private func serve(
        _ injection: [String], upstream: DockerRegistry, imagePath: String, _ arguments: [String] = []
    ) throws -> OciRegistryProcess {
        let server = try OciRegistryProcess(
            upstreams: ["docker.io": upstream.address], imagePath: imagePath, arguments: arguments,
            launcher: ["strace", "-f", "-qq", "-A", "-o", trace] + injection)
        _ = try server.process.line(containing: " partial files, ", in: server.process.errors)
        return server
    }

    private func injected() throws -> Int {
        try String(contentsOfFile: trace, encoding: .utf8).split(separator: "\n").count { $0.contains("(INJECTED)") }
    }

    private func body(_ server: OciRegistryProcess, _ path: String, _ options: String...) throws -> [UInt8] {
        let url = "http://\(server.address)/v2/docker.io/\(SampleImage.multi.repository)/\(path)"
        return try Command.check(["curl", "-sSf", "--max-time", "60"] + options + [url])
    }

    /// Gets an image of one platform with all its blobs, as a client does, and compares each with its digest.
    private func pull(_ server: OciRegistryProcess) throws -> [Digest] {
        let index = try body(server, "manifests/\(SampleImage.multi.tag)")
        let list = try Manifest.decode(index, contentType: nil)
        let digest = try #require(list.manifests.first).digest
        let manifest = try body(server, "manifests/\(digest)")
        #expect(digestOf(manifest) == digest)
        let blobs = try Manifest.decode(manifest, contentType: nil).ownBlobs
        #expect(blobs.contains { ($0.sizeBytes ?? 0) > 512 * 1024 }, "one of them is sent in pieces")
        for blob in blobs {
            let bytes = try body(server, "blobs/\(blob.digest)")
            #expect(Int64(bytes.count) == blob.sizeBytes && digestOf(bytes) == blob.digest)
        }
        return blobs.map(\.digest)
    }

    @Test(
        "images are pulled and served without errors where a system call is refused",
        arguments: [
            ("sendfile", "EINVAL"), ("sendfile", "ENOSYS"), ("sendfile", "EOPNOTSUPP"), ("sendfile", "EPERM"),
            ("sendfile", "EOVERFLOW"), ("sendfile", "EIO"), ("preadv2", "EOPNOTSUPP"), ("preadv2", "EPERM"),
            ("preadv2", "ENOSYS"), ("fallocate", "EOPNOTSUPP"), ("fallocate", "EPERM"), ("fallocate", "EINVAL"),
            ("openat2", "ENOSYS"), ("openat2", "EPERM"), ("accept4", "ENOSYS"), ("accept4", "EPERM"),
        ])
    func refusedCall(_ call: String, _ code: String) throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let imagePath = files.file("images")
        let injection = ["-e", "trace=\(call)", "-e", "inject=\(call):error=\(code)"]
        // The second one opens what the first has left.
        for _ in 0..<2 {
            let server = try serve(injection, upstream: upstream, imagePath: imagePath)
            let blobs = try pull(server)
            for _ in 0..<2 { #expect(try pull(server) == blobs) }
            let part = try body(server, "blobs/\(blobs[blobs.count - 1])", "--range", "100000-199999")
            #expect(part.count == 100_000)
            #expect(try server.stop() == 0)
            let errors = server.process.errors.lines.filter { $0.contains("ERROR") }
            #expect(errors.isEmpty, "\(errors)")
        }
        let refused = try injected()
        // What a file system has no sendfile for is not asked of it again.
        if call == "sendfile", code != "EIO" { #expect(refused == 2) } else { #expect(refused > 0) }
        // What was written is whole: another server, without any of that, finds nothing wrong.
        let verified = try Command.run([Checkout.server, "verify", "--image-path", imagePath])
        #expect(verified.status == 0, "\(verified)")
    }

    /// A sector that cannot be read, found before anything of the answer is sent.
    @Test("an unreadable blob is quarantined, and not found in an air gap")
    func unreadableBlob() throws {
        let imagePath = files.file("images")
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let filling = try OciRegistryProcess(upstreams: ["docker.io": upstream.address], imagePath: imagePath)
        let layer = try #require(try pull(filling).last)
        #expect(try filling.stop() == 0)
        let path = "\(imagePath)/store-v1/blobs/sha256/\(layer.hex.prefix(2))/\(layer.hex)"
        // No page of it is in memory as far as the server can tell, and no read of it works.
        let injection = [
            "-P", path, "-e", "trace=preadv2,pread64,sendfile", "-e", "inject=preadv2:error=EAGAIN", "-e",
            "inject=pread64:error=EIO",
        ]
        let server = try serve(
            injection, upstream: upstream, imagePath: imagePath, ["--air-gapped", "--metrics", "0"])
        let url = "http://\(server.address)/v2/docker.io/\(SampleImage.multi.repository)/blobs/\(layer)"
        for _ in 0..<2 {
            let answer = try Command.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url])
            #expect(answer.text == "404", "\(answer)")
        }
        let report = try server.process.line(containing: "set aside \"", in: server.process.errors)
        #expect(report.contains(path) && report.contains("cannot be read: Input/output error"))
        #expect(report.contains("digest=\(layer)"))
        let line = try server.process.line(containing: "metrics: http://", in: server.process.errors)
        let scraped = try Command.check(["curl", "-sS", String(line.components(after: "metrics: "))])
        let metrics = Scrape(String(decoding: scraped, as: UTF8.self))
        #expect(metrics["ociregistry_store_damaged_files_total{by=\"read\"}"] == 1)
        #expect(try server.stop() == 0)
        #expect(server.process.errors.lines.count { $0.contains("set aside \"") } == 1)
        #expect(try injected() > 0)
    }

    /// Where the file system cannot say what it has in memory, the end of a file is found by the pool.
    @Test("a truncated blob is detected without the page cache too")
    func truncatedWithoutPageCache() throws {
        let upstream = try DockerRegistry(storing: SampleImages.storage())
        let imagePath = files.file("images")
        // What has just been pulled may still be sent as it came; what was there at the start is sent from its file.
        let filling = try OciRegistryProcess(upstreams: ["docker.io": upstream.address], imagePath: imagePath)
        _ = try pull(filling)
        #expect(try filling.stop() == 0)
        let server = try serve(
            ["-e", "trace=preadv2", "-e", "inject=preadv2:error=EOPNOTSUPP"], upstream: upstream,
            imagePath: imagePath)
        let layer = try #require(try pull(server).last)
        let path = "\(imagePath)/store-v1/blobs/sha256/\(layer.hex.prefix(2))/\(layer.hex)"
        #expect(truncate(path, 300_000) == 0)
        #expect(digestOf(try body(server, "blobs/\(layer)")) == layer)
        _ = try server.process.line(containing: "set aside \"", in: server.process.errors)
        #expect(try server.stop() == 0)
    }
}
