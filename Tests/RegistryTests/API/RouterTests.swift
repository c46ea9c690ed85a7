import TestSupport
import Testing

@testable import Registry

@Suite struct RouterTests {
    struct Case: Sendable {
        let path: String
        let kind: Route.Kind
        var name = ""
        var reference = ""
    }

    static let digest = "sha256:" + String(repeating: "0a", count: 32)

    @Test(
        "a path is routed by its kind, repository name and reference",
        arguments: [
            Case(path: "/v2/", kind: .ping), Case(path: "/v2", kind: .ping), Case(path: "/v2/auth", kind: .auth),
            Case(path: "/v2/a/manifests/latest", kind: .manifest, name: "a", reference: "latest"),
            Case(path: "/v2/a/b/c/d/e/f/manifests/V1", kind: .manifest, name: "a/b/c/d/e/f", reference: "V1"),
            Case(path: "/v2/manifests/manifests/manifests", kind: .manifest, name: "manifests", reference: "manifests"),
            Case(path: "/v2/a/blobs/manifests/x", kind: .manifest, name: "a/blobs", reference: "x"),
            Case(path: "/v2/a/blobs/\(digest)", kind: .blob, name: "a", reference: digest),
            Case(path: "/v2/docker.io/x/tags/list", kind: .tags, name: "docker.io/x", reference: "list"),
            Case(path: "/v2/a/referrers/\(digest)", kind: .referrers, name: "a", reference: digest),
            Case(path: "/v2/a/blobs/uploads/", kind: .upload, name: "a"),
            Case(path: "/v2/a/blobs/uploads/0-1", kind: .upload, name: "a"),
            Case(path: "/v2/a/blobs/uploads", kind: .upload, name: "a", reference: "uploads"),
            Case(path: "/v2/a/tags/other", kind: .unknown), Case(path: "/v1/", kind: .unknown),
            Case(path: "/v2x", kind: .unknown), Case(path: "/", kind: .unknown), Case(path: "", kind: .unknown),
            Case(path: "/v2/x", kind: .unknown), Case(path: "/v2//manifests/x", kind: .unknown),
            Case(path: "/v2/manifests/x", kind: .unknown), Case(path: "/v2/_catalog", kind: .catalog),
            Case(path: "/a.b/v2/x/manifests/y", kind: .manifest, name: "x", reference: "y"),
            Case(path: "/a.b/v2", kind: .ping), Case(path: "/a.b/v2/_catalog", kind: .catalog),
            Case(path: "//", kind: .unknown), Case(path: "//v2", kind: .unknown), Case(path: "//v2/", kind: .unknown),
            Case(path: "/:/", kind: .unknown), Case(path: "/./v", kind: .unknown),
            Case(path: "/a.b/v2x", kind: .unknown),
            Case(path: "/a/v2/", kind: .unknown), Case(path: "/a.b", kind: .unknown),
            Case(path: "/./v2/../v2/", kind: .unknown),
        ])
    func routes(expected: Case) {
        Array(expected.path.utf8).withUnsafeBytes { bytes in
            let route = Route(bytes)
            #expect(route.kind == expected.kind)
            guard expected.kind != .unknown else { return }
            #expect(String(decoding: route.name, as: UTF8.self) == expected.name)
            if expected.kind != .upload {
                #expect(String(decoding: route.reference, as: UTF8.self) == expected.reference)
            }
        }
    }

    struct Choice: Sendable {
        let name: String
        var explicit: String?
        var defaultHost: String?
        /// `host repository`, or nil for a 400.
        let expected: String?
    }

    @Test(
        "the upstream is chosen by the explicit host, the path or the default",
        arguments: [
            Choice(name: "library/x", explicit: "docker.io", expected: "docker.io library/x"),
            Choice(name: "x", explicit: "docker.io", expected: "docker.io library/x"),
            Choice(name: "x", explicit: "index.docker.io", expected: "docker.io library/x"),
            Choice(name: "x", explicit: "quay.io", expected: "quay.io x"),
            Choice(name: "a/b", explicit: "host:5000", expected: "host:5000 a/b"),
            Choice(name: "docker.io/x", expected: "docker.io library/x"),
            Choice(name: "localhost/x", expected: "localhost x"),
            Choice(name: "host:5000/a/b", expected: "host:5000 a/b"),
            Choice(name: "docker.io/x", explicit: "quay.io", defaultHost: "ghcr.io", expected: "quay.io docker.io/x"),
            Choice(name: "a/b", defaultHost: "ghcr.io", expected: "ghcr.io a/b"),
            Choice(name: "x", defaultHost: "docker.io", expected: "docker.io library/x"),
            Choice(name: "a/b", expected: nil), Choice(name: "a", explicit: "http://x", expected: nil),
            Choice(name: "a", explicit: "user@x", expected: nil), Choice(name: "A", explicit: "quay.io", expected: nil),
            Choice(name: "a", explicit: "x/../y", expected: nil),
        ])
    func upstreams(choice: Choice) {
        var hosts = HostTable()
        let defaultHost = choice.defaultHost.flatMap { text in
            Array(text.utf8).withUnsafeBytes { hosts.entry(for: $0) }
        }
        let explicit = choice.explicit.map { Array($0.utf8) }
        let found: String? = Array(choice.name.utf8).withUnsafeBytes { name in
            func derive(_ raw: UnsafeRawBufferPointer?) -> String? {
                guard
                    let upstream = try? Target.upstream(
                        name: name, explicit: raw, hosts: &hosts, defaultHost: defaultHost),
                    let target = try? Target(upstream.host, upstream.name),
                    let repository = target.repository
                else { return nil }
                return "\(target.host.host) \(repository)"
            }
            return explicit.map { $0.withUnsafeBytes { derive($0) } } ?? derive(nil)
        }
        #expect(found == choice.expected)
    }
}
