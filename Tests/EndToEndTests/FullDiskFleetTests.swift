// A fleet of mirrors whose disks are all full, behind a real balancer that asks for readiness: cached content is served
// by each of them.

import Foundation
import TestSupport
import Testing

@testable import OCI
@testable import Registry

@Suite(.needs(.root, .haproxy, .curl)) struct FullDiskFleetTests {
    /// A mirror with one image in its cache and not a byte left on its disk.
    private final class Mirror {
        let server: OciRegistryProcess
        let healthPort: Substring
        private let disk: SmallDisk

        init(_ image: FakeImage) throws {
            disk = try SmallDisk(sizeBytes: 4 << 20)
            try Self.fill(disk, with: image)
            // Nobody listens at the upstream: what is served comes from the cache.
            server = try OciRegistryProcess(
                upstreams: ["gone.test": "127.0.0.1:\(LoopbackPort.free())"], imagePath: disk.path,
                arguments: ["--health", "0"])
            let line = try server.process.line(containing: "  health: http://", in: server.process.errors)
            healthPort = line.components(after: "127.0.0.1:").prefix(while: \.isNumber)
            let filler = try Disk.open(disk.path + "/filler", O_RDWR | O_CREAT)
            defer { close(filler) }
            let page = [UInt8](repeating: 1, count: 4096)
            var written: Int64 = 0
            while (try? page.withUnsafeBytes({ try Disk.write($0, to: filler, at: written, "filler") })) != nil {
                written += 4096
            }
        }

        private static func fill(_ disk: SmallDisk, with image: FakeImage) throws {
            let cache = try LocalCache(imagePath: disk.path)
            let (host, repository) = (RegistryHost.dockerHub, try #require(RepositoryName("library/x")))
            for blob in image.blobs { try cache.put(blob: blob, host: host, repository: repository) }
            try cache.put(manifest: image.manifest, type: .ociManifest)
        }
    }

    @Test("mirrors with full disks pass a balancer's /readyz check and fail /readyz?pull")
    func balancers() throws {
        let image = FakeImage()
        let mirrors = try (0..<3).map { _ in try Mirror(image) }
        func servers() -> String {
            mirrors.enumerated().map {
                "    server mirror\($0) \($1.server.address) check port \($1.healthPort) inter 100ms fall 1 rise 1"
            }.joined(separator: "\n")
        }
        let proxy = try ReverseProxy.haproxy { address in
            """
            frontend images
                bind \(address)
                stats enable
                stats uri /stats
                use_backend pulls if { path_beg /pulls }
                default_backend cached
            backend cached
                option httpchk GET /readyz
                http-response set-header X-Served-By %s
            \(servers())
            backend pulls
                option httpchk GET /readyz?pull
            \(servers())
            """
        }
        let states = try Self.states(proxy)
        for number in 0..<3 {
            #expect(states["cached/mirror\(number)"] == "UP L7OK")
            #expect(states["pulls/mirror\(number)"] == "DOWN L7STS")
        }
        let files = try TemporaryDirectory()
        var servedBy: Set<String> = []
        for request in 0..<9 {
            let part = request / 3
            let (path, expected) =
                part < 2
                ? ("blobs/\(digestOf(image.blobs[part]))", image.blobs[part])
                : ("manifests/\(image.digest)", image.manifest)
            let output = try Command.check([
                "curl", "-sS", "-D", files.file("head"), "http://\(proxy.address)/v2/gone.test/team/app/\(path)",
            ])
            #expect(output == expected, "\(path)")
            let head = try String(contentsOfFile: files.file("head"), encoding: .utf8)
            let name = "x-served-by: "
            let lines = head.split(whereSeparator: \.isNewline).filter { $0.lowercased().hasPrefix(name) }
            servedBy.formUnion(lines.map { String($0.dropFirst(name.count)) })
        }
        #expect(servedBy == ["mirror0", "mirror1", "mirror2"])
        for mirror in mirrors { #expect(try mirror.server.stop() == 0) }
    }

    /// Of each server by backend and name: its status and the result of its last check. Asked, a bounded number of
    /// times, until each server has been checked.
    private static func states(_ proxy: ReverseProxy) throws -> [String: String] {
        var states: [String: String] = [:]
        for _ in 0..<1000 {
            let output = try Command.check(["curl", "-sS", "http://\(proxy.address)/stats;csv"])
            let lines = String(decoding: output, as: UTF8.self).split(separator: "\n")
            let names = (lines.first ?? "").split(separator: ",", omittingEmptySubsequences: false)
            let columns = try ["# pxname", "svname", "status", "check_status"].map { name in
                try #require(names.firstIndex { $0 == name }, "no column \(name)")
            }
            states = [:]
            for line in lines.dropFirst() {
                let cells = line.split(separator: ",", omittingEmptySubsequences: false)
                guard cells.count > columns[3], cells[columns[1]].hasPrefix("mirror") else { continue }
                // "* " while the next check is under way.
                let check = cells[columns[3]].drop { $0 == "*" || $0 == " " }
                states["\(cells[columns[0]])/\(cells[columns[1]])"] = "\(cells[columns[2]]) \(check)"
            }
            if states.count == 6, states.values.allSatisfy({ $0.contains(" L7") }) { break }
        }
        return states
    }
}
