// A real registry behind an nginx that limits requests by the second (`limit_req`), and a real client of the mirror.

import Foundation
import TestSupport
import Testing

/// nginx before a registry: so many requests a second, and 429 without `Retry-After` to what is more.
private final class ThrottlingProxy {
    let address: String
    private let process: ChildProcess
    private let files: TemporaryDirectory

    init(before registry: String, perSecond: Int, burst: Int) throws {
        let files = try TemporaryDirectory()
        self.files = files
        let port = LoopbackPort.free()
        // As root nginx would serve as another user, who may not write here.
        let user = geteuid() == 0 ? "user root;" : ""
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map {
            "\($0)_temp_path \(files.file($0));"
        }
        let configuration = try files.write(
            """
            \(user) daemon off; worker_processes 1; pid \(files.file("pid")); error_log stderr notice;
            events { worker_connections 1024; }
            http {
              log_format status '$status $request'; access_log \(files.file("access.log")) status;
              \(temporary.joined(separator: " "))
              limit_req_zone $server_name zone=all:1m rate=\(perSecond)r/s;
              server {
                listen 127.0.0.1:\(port); server_name registry;
                limit_req zone=all burst=\(burst) nodelay; limit_req_status 429; limit_req_log_level info;
                location / { proxy_pass http://\(registry); proxy_set_header Host $http_host; }
              }
            }
            """, to: "nginx.conf")
        process = try ChildProcess(["nginx", "-e", "stderr", "-c", configuration, "-p", files.path])
        _ = try process.line(containing: "start worker process ", in: process.errors)
        address = "127.0.0.1:\(port)"
    }

    /// Stops it, and returns a line `status request` for each request.
    func stop() throws -> [String] {
        process.stop()
        let log = try String(contentsOfFile: files.file("access.log"), encoding: .utf8)
        return log.split(separator: "\n").map(String.init)
    }
}

@Suite(.needs(.nginx, .sampleImages)) struct ThrottledRegistryTests {
    private static func copy(_ source: String, to directory: String) throws {
        try Command.check([
            "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false", "docker://\(source)",
            "dir:\(directory)",
        ])
    }

    @Test(
        "skopeo copies an image of 120 layers from a registry that throttles requests per second",
        arguments: [[], ["--no-prefetch-layers"]])
    func manyLayers(arguments: [String]) throws {
        let files = try TemporaryDirectory()
        let registry = try DockerRegistry(storing: SampleImages.storage())
        let proxy = try ThrottlingProxy(before: registry.address, perSecond: 20, burst: 10)
        let server = try OciRegistryProcess(upstreams: ["docker.io": proxy.address], arguments: arguments)
        let image = SampleImage.many
        try Self.copy("\(registry.address)/\(image)", to: files.file("direct"))
        try Self.copy("\(server.address)/docker.io/\(image)", to: files.file("mirrored"))
        try Command.check(["diff", "-r", files.file("direct"), files.file("mirrored")])
        #expect(try server.stop() == 0)
        let requests = try proxy.stop()
        // On a busy machine skopeo alone may ask more slowly than that.
        #expect(requests.contains { $0.hasPrefix("429 ") } || !arguments.isEmpty, "the limit was met")
        // Of everything that was asked for, each thing was given once.
        let given = requests.filter { $0.hasPrefix("200 GET") && $0.contains("/blobs/") }
        #expect(given.count == SampleImages.manyLayers + 1 && Set(given).count == given.count)
    }
}
