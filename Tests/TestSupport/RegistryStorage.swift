// The storage of a docker-registry, written without one: a registry that wants a login takes no pushes in a test.

internal import OCI

/// A directory in the form of docker-registry's filesystem driver.
package struct RegistryStorage {
    private let files: TemporaryDirectory

    package init() throws { files = try TemporaryDirectory() }

    package var path: String { files.path }

    package func add(_ image: FakeImage, repository: String, tags: [String]) throws {
        let place = "docker/registry/v2/repositories/\(repository)"
        for blob in image.blobs + [image.manifest] {
            let digest = "\(digestOf(blob))"
            let name = Self.name(digest)
            try files.write(blob, to: "docker/registry/v2/blobs/sha256/\(name.prefix(2))/\(name)/data")
            try files.write(digest, to: "\(place)/_layers/sha256/\(name)/link")
        }
        let digest = "\(image.digest)"
        try files.write(digest, to: "\(place)/_manifests/revisions/sha256/\(Self.name(digest))/link")
        for tag in tags { try files.write(digest, to: "\(place)/_manifests/tags/\(tag)/current/link") }
    }

    /// A digest without its algorithm.
    private static func name(_ digest: String) -> String { String(digest.drop { $0 != ":" }.dropFirst()) }
}

/// The file of a docker-registry's or an nginx's users.
package enum Htpasswd {
    /// A line for a user, with the password as bcrypt at its lowest cost.
    package static func line(user: String, password: String) throws -> String {
        let salt = "$2y$04$abcdefghijklmnopqrstuu"
        let hash = try Command.check(["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, salt])
        return "\(user):\(String(decoding: hash, as: UTF8.self))\n"
    }
}
