// The built-in image of `--hello-world`, which shows a whole pull without an upstream. It is built at start from the
// two programs in HelloWorldPrograms.swift: for each platform a layer (a tar archive of one file), a configuration and
// a manifest, and one index over both. Nothing in it depends on the time or the machine, so its digests never change.

package import OCI

/// `docker.io/library/hello-world:latest`, for linux/amd64 and linux/arm64.
package struct HelloWorldImage {
    package static let host = RegistryHost.dockerHub
    package static let repository: StaticString = "library/hello-world"
    package static let tag = "latest"

    /// A manifest or index with its digest.
    package struct ManifestEntry {
        package let digest: Digest
        package let mediaType: MediaType
        package let bytes: [UInt8]
    }

    /// A configuration or layer with its digest.
    package struct BlobEntry {
        package let digest: Digest
        package let bytes: [UInt8]
    }

    /// The index first, then one manifest per platform.
    package private(set) var manifests: [ManifestEntry] = []
    /// One configuration and one layer per platform.
    package private(set) var blobs: [BlobEntry] = []
    /// The digest of `tag`.
    package var indexDigest: Digest { manifests[0].digest }

    package init() {
        let platforms = [
            add(program: HelloWorldPrograms.amd64, architecture: "amd64", variant: ""),
            add(program: HelloWorldPrograms.arm64, architecture: "arm64", variant: #","variant":"v8""#),
        ]
        let type = MediaType.ociIndex
        let text =
            #"{"schemaVersion":2,"mediaType":"\#(type.text)","manifests":[\#(platforms.joined(separator: ","))]}"#
        let bytes = Array(text.utf8)
        manifests.insert(ManifestEntry(digest: SHA256.hash(bytes), mediaType: type, bytes: bytes), at: 0)
    }

    /// Adds one platform's layer, configuration and manifest, and returns the manifest's descriptor for the index.
    private mutating func add(program: [UInt8], architecture: String, variant: String) -> String {
        let layer = Self.archive(of: program, named: "hello")
        let layerDigest = SHA256.hash(layer)
        let config = Array(Self.configuration(architecture: architecture, variant: variant, layer: layerDigest).utf8)
        let configDigest = SHA256.hash(config)
        let type = MediaType.ociManifest
        let configDescriptor = Self.descriptor("application/vnd.oci.image.config.v1+json", configDigest, config.count)
        let layerDescriptor = Self.descriptor("application/vnd.oci.image.layer.v1.tar", layerDigest, layer.count)
        let manifest = Array(
            (#"{"schemaVersion":2,"mediaType":"\#(type.text)","config":{\#(configDescriptor)},"#
                + #""layers":[{\#(layerDescriptor)}]}"#).utf8)
        let digest = SHA256.hash(manifest)
        manifests.append(ManifestEntry(digest: digest, mediaType: type, bytes: manifest))
        blobs.append(BlobEntry(digest: configDigest, bytes: config))
        blobs.append(BlobEntry(digest: layerDigest, bytes: layer))
        let platform = #""platform":{"architecture":"\#(architecture)","os":"linux"\#(variant)}"#
        return "{\(Self.descriptor(type.text, digest, manifest.count)),\(platform)}"
    }

    /// The members of a descriptor (image-spec, descriptor.md), without braces.
    private static func descriptor(_ mediaType: String, _ digest: Digest, _ sizeBytes: Int) -> String {
        #""mediaType":"\#(mediaType)","digest":"\#(digest)","size":\#(sizeBytes)"#
    }

    /// An image configuration (image-spec, config.md) that runs `/hello`.
    private static func configuration(architecture: String, variant: String, layer: Digest) -> String {
        let created = #""created":"1970-01-01T00:00:00Z""#
        let run = #""config":{"Env":["PATH=/"],"Cmd":["/hello"],"WorkingDir":"/"}"#
        let layers = #""rootfs":{"type":"layers","diff_ids":["\#(layer)"]}"#
        let history = #""history":[{\#(created),"created_by":"scripts/hello-world/build"}]"#
        return
            #"{\#(created),"architecture":"\#(architecture)","os":"linux"\#(variant),\#(run),\#(layers),\#(history)}"#
    }

    // MARK: Tar

    private static let blockBytes = 512

    /// A tar archive of one executable file, owned by root and dated 1970, in the ustar format (POSIX.1-2017, pax).
    package static func archive(of content: [UInt8], named name: String) -> [UInt8] {
        var header = [UInt8](repeating: 0, count: blockBytes)
        func put(_ text: String, at offset: Int) {
            header.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
        }
        put(name, at: 0)
        put(octal(0o755, digits: 7), at: 100)
        put(octal(0, digits: 7), at: 108)
        put(octal(0, digits: 7), at: 116)
        put(octal(content.count, digits: 11), at: 124)
        put(octal(0, digits: 11), at: 136)
        // The checksum is computed over the header with spaces in its own field.
        put("        ", at: 148)
        put("0", at: 156)
        put("ustar\u{0}00", at: 257)
        put("root", at: 265)
        put("root", at: 297)
        put(octal(header.reduce(0) { $0 + Int($1) }, digits: 6) + "\u{0} ", at: 148)
        let padding = (blockBytes - content.count % blockBytes) % blockBytes
        // Two empty blocks end an archive.
        return header + content + [UInt8](repeating: 0, count: padding + 2 * blockBytes)
    }

    private static func octal(_ value: Int, digits: Int) -> String {
        let text = String(value, radix: 8)
        return String(repeating: "0", count: digits - text.utf8.count) + text
    }
}

extension SHA256 {
    fileprivate static func hash(_ bytes: [UInt8]) -> Digest { bytes.withUnsafeBytes { hash($0) } }
}
