// Small sample images, as OCI layouts and in the form of `docker save`.

internal import Configuration
package import ImageArchive
package import OCI
internal import Registry

extension SampleArchive {
    /// Adds a blob and returns its digest.
    package mutating func addBlob(_ content: [UInt8], _ algorithm: Digest.Algorithm = .sha256) -> Digest {
        let digest = content.withUnsafeBytes { Digest.of($0, algorithm) }
        let name = EntryName.blob(digest)
        if !files.contains(where: { $0.name == name }) { files.append((name, content)) }
        return digest
    }

    /// A descriptor of an added blob.
    package func descriptor(_ digest: Digest, _ type: String, _ more: String = "") -> String {
        let size = files.first { $0.name == EntryName.blob(digest) }?.content.count ?? 0
        return #"{"mediaType":"\#(type)","digest":"\#(digest)","size":\#(size)\#(more)}"#
    }

    /// Adds an image manifest whose layers have these contents.
    package mutating func addImage(_ layers: [String], _ algorithm: Digest.Algorithm = .sha256) -> Digest {
        let config = addBlob(Array(#"{"os":"linux","layers":"\#(layers)"}"#.utf8), algorithm)
        var list: [String] = []
        for layer in layers {
            let digest = addBlob(Array(layer.utf8), algorithm)
            list.append(descriptor(digest, "application/vnd.oci.image.layer.v1.tar"))
        }
        let text = """
            {"schemaVersion":2,"mediaType":"\(MediaType.ociManifest.text)",\
            "config":\(descriptor(config, "application/vnd.oci.image.config.v1+json")),\
            "layers":[\(list.joined(separator: ","))]}
            """
        return addBlob(Array(text.utf8), algorithm)
    }

    /// Adds an image index with these descriptors.
    package mutating func addIndex(_ descriptors: [String]) -> Digest {
        addBlob(Array(SampleArchive.index(descriptors).utf8))
    }

    package mutating func addLayout(_ descriptors: [String]) {
        add("oci-layout", #"{"imageLayoutVersion":"1.0.0"}"#)
        add("index.json", SampleArchive.index(descriptors))
    }

    package static func index(_ descriptors: [String]) -> String {
        #"{"schemaVersion":2,"mediaType":"\#(MediaType.ociIndex.text)","#
            + #""manifests":[\#(descriptors.joined(separator: ","))]}"#
    }

    package static func platform(_ text: String) -> String {
        let parts = text.split(separator: "/")
        return #","platform":{"os":"\#(parts[0])","architecture":"\#(parts[1])"}"#
    }

    package static func name(_ text: String) -> String {
        #","annotations":{"org.opencontainers.image.ref.name":"\#(text)"}"#
    }

    /// A layout with one image named `docker.io/library/one:1`.
    package static func one() -> (archive: SampleArchive, top: Digest) {
        var archive = SampleArchive()
        let top = archive.addImage(["first layer", "second layer"])
        archive.addLayout([
            archive.descriptor(top, MediaType.ociManifest.text, name("docker.io/library/one:1"))
        ])
        return (archive, top)
    }

    /// An image named `one:1` in Docker's old form: one directory per layer.
    package static func saved(_ layers: [[UInt8]] = [Array("first".utf8), Array("second".utf8)]) -> SampleArchive {
        var archive = SampleArchive()
        let diffIDs = layers.map { layer in "\"\(layer.withUnsafeBytes { Digest.of($0) })\"" }
        let config = #"{"os":"linux","rootfs":{"type":"layers","diff_ids":[\#(diffIDs.joined(separator: ","))]}}"#
        let digest = Array(config.utf8).withUnsafeBytes { Digest.of($0) }
        archive.add("\(digest.hex).json", config)
        for (index, layer) in layers.enumerated() { archive.files.append(("layer\(index)/layer.tar", layer)) }
        let names = layers.indices.map { "\"layer\($0)/layer.tar\"" }.joined(separator: ",")
        archive.add(
            "manifest.json", #"[{"Config":"\#(digest.hex).json","RepoTags":["one:1"],"Layers":[\#(names)]}]"#)
        return archive
    }
}

extension ImageArchive {
    /// The whole content of every blob with these digests.
    package func contents(_ digests: some Sequence<Digest>) throws -> [Digest: [UInt8]] {
        var contents: [Digest: [UInt8]] = [:]
        for digest in digests { contents[digest] = [] }
        try readBlobs(digests) { digest, bytes in contents[digest, default: []].append(contentsOf: bytes) }
        return contents
    }
}
