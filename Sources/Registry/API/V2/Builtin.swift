// The built-in image in the form that the endpoints use. It is kept in memory only: without `--hello-world` the name
// refers to the upstream's image, and no content of the built-in one is in the cache.

package import BuiltinImage
internal import OCI

/// The hello-world image, ready to serve.
package final class Builtin {
    /// A blob in memory.
    final class Blob {
        let memory: UnsafeRawBufferPointer

        init(_ bytes: [UInt8]) {
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
            copy.copyBytes(from: bytes)
            memory = UnsafeRawBufferPointer(copy)
        }

        deinit { memory.deallocate() }
    }

    let manifests: [Digest: CachedManifest]
    let blobs: [Digest: Blob]
    /// The index of the tag `latest`.
    let index: CachedManifest

    package init(_ image: HelloWorldImage) {
        var manifests: [Digest: CachedManifest] = [:]
        for entry in image.manifests {
            manifests[entry.digest] = Builtin.ready(entry)
        }
        index = manifests[image.indexDigest] ?? Builtin.ready(image.manifests[0])
        self.manifests = manifests
        blobs = Dictionary(image.blobs.map { ($0.digest, Blob($0.bytes)) }, uniquingKeysWith: { first, _ in first })
    }

    private static func ready(_ entry: HelloWorldImage.ManifestEntry) -> CachedManifest {
        let manifest = CachedManifest(digest: entry.digest, mediaType: entry.mediaType, body: entry.bytes)
        // The image is complete: its layers are never requested from an upstream.
        manifest.nextWholeCheckMilliseconds = .max
        return manifest
    }

    /// Whether a request for the manifest of this name is answered by the built-in image.
    static func serves(_ name: ImageName) -> Bool {
        switch name.reference {
        case .tag(let tag):
            name.host == HelloWorldImage.host && name.repository.text == "\(HelloWorldImage.repository)"
                && tag == HelloWorldImage.tag
        case .digest(let digest): HelloWorldImage().manifests.contains { $0.digest == digest }
        }
    }

    /// Whether a repository is the built-in image's: `docker.io/hello-world` or `docker.io/library/hello-world`.
    func isNamed(host: RegistryHost, name: UnsafeRawBufferPointer) -> Bool {
        host == HelloWorldImage.host
            && (name.equals("hello-world") || name.equals(HelloWorldImage.repository))
    }
}
