// The ways in which a request names its upstream, and what is served to one that names none.

import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct AddressFormTests {
    private static let image = FakeImage(seed: 61)
    private static let host = MirrorKit.host.text

    private func mirror(hasDefault: Bool = false, helloWorld: Bool = false) throws -> MirrorKit {
        let mirror = try MirrorKit {
            $0.policy = API.Policy(
                airGapped: false, defaultHost: hasDefault ? MirrorKit.host : nil)
        }
        Self.image.put(on: mirror.fake, tag: "v1")
        mirror.fake.on(
            "/v2/team/app/tags/list",
            .json(#"{"name":"team/app","tags":["a","b"]}"#))
        return mirror
    }

    @Test(
        "the host in the path, in ns, in both, or before /v2 names the same repository",
        arguments: [
            "/v2/HOST/team/app/manifests/v1", "/v2/team/app/manifests/v1?ns=HOST",
            "/v2/HOST/team/app/manifests/v1?ns=HOST",
            "/HOST/v2/team/app/manifests/v1", "/HOST/v2/team/app/manifests/v1?ns=HOST",
            "/HOST/v2/HOST/team/app/manifests/v1",
        ])
    func forms(_ form: String) throws {
        let mirror = try mirror()
        let target = form.replacing("HOST", with: Self.host)
        for _ in 0..<3 { #expect(mirror.get(target).body == Self.image.manifest) }
        #expect(mirror.fake.requests.map(\.path) == ["/v2/team/app/manifests/v1"])
        mirror.close()
    }

    @Test("a host in the path that is not the one in ns is a part of the repository's name")
    func otherHostInPath() throws {
        let mirror = try mirror()
        #expect(mirror.get("/v2/other.test/app/manifests/v1?ns=\(Self.host)").status == 404)
        #expect(mirror.fake.requests.map(\.path) == ["/v2/other.test/app/manifests/v1"])
        mirror.close()
    }

    @Test(
        "the names of Docker Hub are one host",
        arguments: [
            "/v2/docker.io/library/x/manifests/v1?ns=registry-1.docker.io",
            "/index.docker.io/v2/library/x/manifests/v1",
            "/docker.io/v2/x/manifests/v1",
        ])
    func dockerHub(_ path: String) throws {
        let mirror = try mirror()
        mirror.store.putManifest(Self.image.manifest, digest: Self.image.digest, mediaType: .ociManifest)
        mirror.store.setTag(
            host: .dockerHub, repository: try #require(RepositoryName("library/x")), tag: "v1",
            digest: Self.image.digest)
        #expect(mirror.get(path).body == Self.image.manifest)
        mirror.close()
    }

    @Test("a host before /v2 answers a ping, and is in the links of lists")
    func prefix() throws {
        let mirror = try mirror()
        #expect(mirror.get("/\(Self.host)/v2/").body == Array("{}".utf8))
        #expect(mirror.get("/\(Self.host)/v2").status == 200)
        let link = mirror.get("/\(Self.host)/v2/team/app/tags/list?n=1").header("link") ?? ""
        #expect(link.hasPrefix("</\(Self.host)/v2/team/app/tags/list?"), "\(link)")
        for path in ["/nohost/v2/", "/\(Self.host)/v1/", "/a/\(Self.host)/v2/", "//v2/", "/\(Self.host)/v22"] {
            #expect(mirror.get(path).status == 404, "\(path)")
        }
        mirror.close()
    }

    @Test("cached content is served by digest to requests that name no upstream, and nothing else is")
    func byDigestAlone() throws {
        let mirror = try mirror()
        let manifest = "/v2/any/name/manifests/\(Self.image.digest)"
        let layer = Self.image.layers[1]
        let blob = "/v2/any/name/blobs/\(digestOf(layer))"
        #expect(mirror.get(manifest).status == 404 && mirror.get(blob).status == 404)
        #expect(mirror.get("/v2/any/name/manifests/v1").status == 400)
        #expect(mirror.get("/v2/any/name/tags/list").status == 400)
        #expect(mirror.fake.requests.isEmpty)
        for path in ["manifests/v1", "blobs/\(digestOf(layer))"] {
            #expect(mirror.get("/v2/team/app/\(path)?ns=\(Self.host)").status == 200)
        }
        mirror.wait(until: { mirror.store.blobSize(digestOf(layer)) == .present(Int64(layer.count)) })
        for _ in 0..<2 {
            #expect(mirror.get(manifest).body == Self.image.manifest)
            #expect(mirror.get(blob).body == layer)
        }
        #expect(mirror.head(manifest).contentLength == Self.image.manifest.count)
        let part = mirror.get(blob, range: "bytes=10-19")
        #expect(part.status == 206 && part.body == Array(layer[10..<20]))
        #expect(mirror.get("/v2/Any/name/manifests/\(Self.image.digest)").status == 400)
        mirror.close()
    }

    @Test("the catalog lists the repositories of the cache, sorted, in pages")
    func catalog() throws {
        let mirror = try mirror()
        mirror.store.putManifest(Self.image.manifest, digest: Self.image.digest, mediaType: .ociManifest)
        let names = [
            ("docker.io", "library/b"), ("docker.io", "library/a"), (Self.host, "team/z"), (Self.host, "team/app"),
        ]
        for (host, repository) in names {
            for tag in ["v1", "v2"] {
                mirror.store.setTag(
                    host: try #require(RegistryHost(host)), repository: try #require(RepositoryName(repository)),
                    tag: tag,
                    digest: Self.image.digest)
            }
        }
        mirror.wait(until: { mirror.store.unsavedTags.isEmpty })
        func list(_ target: String) -> String { mirror.get(target).text }
        let all = ["docker.io/library/a", "docker.io/library/b", "\(Self.host)/team/app", "\(Self.host)/team/z"]
        #expect(list("/v2/_catalog") == #"{"repositories":["\#(all.joined(separator: "\",\""))"]}"# + "\n")
        #expect(list("/v2/_catalog?ns=docker.io") == #"{"repositories":["library/a","library/b"]}"# + "\n")
        #expect(list("/\(Self.host)/v2/_catalog") == #"{"repositories":["team/app","team/z"]}"# + "\n")
        var target: String? = "/v2/_catalog?n=1&ns=docker.io"
        var pages: [String] = []
        while let next = target, pages.count < 5 {
            let answer = mirror.get(next)
            pages.append(answer.text)
            target = answer.header("link").map { String($0.dropFirst().prefix { $0 != ">" }) }
        }
        #expect(pages == [#"{"repositories":["library/a"]}"# + "\n", #"{"repositories":["library/b"]}"# + "\n"])
        #expect(list("/v2/_catalog?last=library/a&ns=docker.io") == #"{"repositories":["library/b"]}"# + "\n")
        #expect(mirror.get("/v2/_catalog?n=x").status == 400)
        #expect(mirror.get("/v2/_catalog?n=0").text == #"{"repositories":[]}"# + "\n")
        #expect(mirror.fake.requests.isEmpty)
        mirror.close()
    }
}
