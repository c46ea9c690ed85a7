// Images made with the usual tools, in the storage of a docker-registry. They are made once per test run; every test
// starts its own upstream with that storage.

internal import Foundation

/// A repository and a tag at the upstream.
package struct SampleImage: CustomStringConvertible {
    package let repository: String
    package let tag: String
    /// The name on Docker Hub, as passed to clients.
    package var description: String { "\(repository):\(tag)" }

    /// An OCI index over three platforms, made with buildah.
    package static let multi = SampleImage(repository: "library/multi", tag: "1.0")
    /// The same as a manifest list of Docker's own types (schema 2).
    package static let classic = SampleImage(repository: "library/classic", tag: "latest")
    /// One image with 120 layers, made with umoci; its name has six segments, and its tag has capital letters.
    package static let many = SampleImage(repository: "a/b/c/d/e/many", tag: "UPPER.Tag_1")

    package static let all = [multi, classic, many]
}

package enum SampleImages {
    package static let platforms = ["amd64", "arm64", "s390x"]
    package static let manyLayers = 120

    /// The storage directory of a registry with every `SampleImage`.
    package static func storage() throws -> String { try made.get().file("storage") }

    private static let made = Result { try make() }

    private static func make() throws -> TemporaryDirectory {
        let directory = try TemporaryDirectory()
        let registry = try DockerRegistry(storing: directory.directory("storage"))
        try makeMulti(in: directory, pushTo: registry.address)
        try makeMany(in: directory, pushTo: registry.address)
        try registry.stop()
        return directory
    }

    private static func makeMulti(in directory: TemporaryDirectory, pushTo address: String) throws {
        let environment = ["TMPDIR": directory.path]
        let options = ["--root", directory.file("buildah/root"), "--runroot", directory.file("buildah/run")]
        @discardableResult
        func buildah(_ arguments: String...) throws -> String {
            let all = ["buildah", "--storage-driver", "vfs"] + options + arguments
            let output = try Command.check(all, environment: environment)
            return String(decoding: output, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        }
        try buildah("manifest", "create", "multi")
        for platform in platforms {
            let root = try directory.directory("root-\(platform)")
            try fillRoot(root, in: directory, platform: platform)
            let container = try buildah("from", "--arch", platform, "scratch")
            try buildah("add", container, root, "/")
            try buildah("config", "--arch", platform, "--os", "linux", "--cmd", "/bin/tool", container)
            try buildah("commit", "--quiet", "--format", "oci", container, "multi-\(platform)")
            try buildah("manifest", "add", "--arch", platform, "--os", "linux", "multi", "multi-\(platform)")
        }
        for (image, format) in [(SampleImage.multi, "oci"), (.classic, "v2s2")] {
            try buildah(
                "manifest", "push", "--all", "--format", format, "--tls-verify=false", "multi",
                "docker://\(address)/\(image)")
        }
    }

    /// A few files as in a distribution: links, an executable, other owners, and a larger file.
    private static func fillRoot(_ root: String, in directory: TemporaryDirectory, platform: String) throws {
        let name = String(root.dropFirst(directory.path.count + 1))
        try directory.write("\(platform)\n", to: "\(name)/etc/platform")
        try directory.write("#!/bin/sh\n", to: "\(name)/bin/tool")
        _ = chmod("\(root)/bin/tool", 0o4755)
        _ = symlink("../bin/tool", "\(root)/etc/tool")
        _ = link("\(root)/etc/platform", "\(root)/etc/platform.link")
        let random = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/dev/urandom")).read(upToCount: 1 << 20)
        try directory.write([UInt8](random ?? Data()), to: "\(name)/data")
    }

    private static func makeMany(in directory: TemporaryDirectory, pushTo address: String) throws {
        let layout = directory.file("many")
        try Command.check(["umoci", "init", "--layout", layout])
        try Command.check(["umoci", "new", "--image", "\(layout):latest"])
        for layer in 1...manyLayers {
            let file = try directory.write("\(layer)\n", to: "layer")
            try Command.check(["umoci", "insert", "--image", "\(layout):latest", file, "/layer-\(layer)"])
        }
        try Command.check([
            "skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "oci:\(layout):latest",
            "docker://\(address)/\(SampleImage.many)",
        ])
    }
}
