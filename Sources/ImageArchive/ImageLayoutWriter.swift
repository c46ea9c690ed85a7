// Writes images as an OCI layout, the format that skopeo, podman, containerd and this server's `load` read. The same
// images give the same bytes: names are sorted, and times and owners are zero.
//
// Every blob is hashed while it is copied: damage would otherwise be found only at the destination, where it cannot be
// repaired. The target gets its name only after everything is written and on the disk.

internal import Glibc
package import OCI

/// An image to write.
package struct LayoutImage: Sendable {
    package let name: ImageName
    /// The manifest or index of the name; one of the manifests passed to the writer.
    package let top: Digest

    package init(name: ImageName, top: Digest) {
        self.name = name
        self.top = top
    }
}

/// A manifest or index to write.
package struct LayoutManifest: Sendable {
    package let digest: Digest
    package let mediaType: MediaType
    package let bytes: [UInt8]

    package init(digest: Digest, mediaType: MediaType, bytes: [UInt8]) {
        self.digest = digest
        self.mediaType = mediaType
        self.bytes = bytes
    }
}

/// A blob to write, and the file that contains it.
package struct LayoutBlob: Sendable {
    package let digest: Digest
    package let sizeBytes: Int64
    package let path: String

    package init(digest: Digest, sizeBytes: Int64, path: String) {
        self.digest = digest
        self.sizeBytes = sizeBytes
        self.path = path
    }
}

/// Writes a set of images as one layout.
package struct ImageLayoutWriter: Sendable {
    /// The output: a directory or one tarball.
    package enum Form: Sendable {
        case directory
        case tar
    }

    private let images: [LayoutImage]
    private let manifests: [Digest: LayoutManifest]
    private let blobs: [LayoutBlob]

    /// Takes the images and all their parts. An index may list manifests that are not given: readers of the layout then
    /// find only the given platforms.
    package init(images: [LayoutImage], manifests: [LayoutManifest], blobs: [LayoutBlob]) {
        self.images = images.sorted { "\($0.name)" < "\($1.name)" }
        self.manifests = manifests.reduce(into: [:]) { $0[$1.digest] = $1 }
        self.blobs = blobs
    }

    /// Writes the layout to `path`, which must not exist. Blocks as long as copying takes.
    /// - Parameter progress: called with the number of bytes of each copied piece.
    package func write(
        to path: String, _ form: Form, progress: (Int) -> Void = { _ in }
    ) throws(ArchiveError) {
        if FileAccess.exists(path) { throw ArchiveError(path, .exists) }
        let index = try indexDocument(path)
        let output: any LayoutOutput
        switch form {
        case .directory: output = try DirectoryOutput(target: path)
        case .tar: output = try TarOutput(target: path)
        }
        do throws(ArchiveError) {
            try output.write("oci-layout", Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8))
            try output.write("index.json", index)
            for part in parts() {
                switch part {
                case .manifest(let manifest): try write(manifest, to: output, path)
                case .blob(let blob): try copy(blob, to: output, path, progress)
                }
            }
            try output.finish()
        } catch {
            output.abandon()
            throw error
        }
    }

    private enum Part {
        case manifest(LayoutManifest)
        case blob(LayoutBlob)
    }

    /// Everything under `blobs/`, each digest once, in the order of the names.
    private func parts() -> [Part] {
        var parts: [String: Part] = [:]
        for blob in blobs { parts[EntryName.blob(blob.digest)] = .blob(blob) }
        for manifest in manifests.values { parts[EntryName.blob(manifest.digest)] = .manifest(manifest) }
        return parts.sorted { $0.key < $1.key }.map(\.value)
    }

    /// `index.json` with one entry per name. Names, types and digests contain no character that needs escaping.
    private func indexDocument(_ path: String) throws(ArchiveError) -> [UInt8] {
        var entries: [String] = []
        for image in images {
            guard let top = manifests[image.top] else {
                throw ArchiveError(path, entry: EntryName.blob(image.top), .missing)
            }
            entries.append(
                #"{"mediaType":"\#(top.mediaType.text)","digest":"\#(top.digest)","size":\#(top.bytes.count),"#
                    + #""annotations":{"io.containerd.image.name":"\#(image.name)","#
                    + #""org.opencontainers.image.ref.name":"\#(image.name)"}}"#)
        }
        let list = entries.joined(separator: ",")
        return Array(#"{"schemaVersion":2,"mediaType":"\#(MediaType.ociIndex.text)","manifests":[\#(list)]}"#.utf8)
    }

    private func write(
        _ manifest: LayoutManifest, to output: any LayoutOutput, _ path: String
    ) throws(ArchiveError) {
        let name = EntryName.blob(manifest.digest)
        let found = manifest.bytes.withUnsafeBytes { Digest.of($0, manifest.digest.algorithm) }
        guard found == manifest.digest else {
            throw ArchiveError(path, entry: name, .wrongDigest(expected: manifest.digest, found: found))
        }
        try output.write(name, manifest.bytes)
    }

    private func copy(
        _ blob: LayoutBlob, to output: any LayoutOutput, _ path: String, _ progress: (Int) -> Void
    ) throws(ArchiveError) {
        let source = try BlobFile(blob)
        try output.begin(EntryName.blob(blob.digest), sizeBytes: blob.sizeBytes)
        while let piece = try source.piece() {
            try output.append(piece)
            progress(piece.count)
        }
        try output.end()
    }
}

/// A blob's file while it is copied: read in pieces, hashed, and checked against its digest and size at the end. Errors
/// name the file.
private final class BlobFile {
    private static let bufferBytes = 256 * 1024

    private let blob: LayoutBlob
    private let descriptor: Int32
    private let hash: ContentHash
    private var readBytes: Int64 = 0
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferBytes, alignment: 16)

    init(_ blob: LayoutBlob) throws(ArchiveError) {
        self.blob = blob
        hash = ContentHash(blob.digest.algorithm)
        descriptor = try FileAccess.openFile(blob.path)
    }

    deinit {
        close(descriptor)
        buffer.deallocate()
    }

    /// The next bytes, valid until the next call; nil at the end, when the digest matches.
    func piece() throws(ArchiveError) -> UnsafeRawBufferPointer? {
        let count = try FileAccess.read(descriptor, into: buffer, blob.path)
        readBytes += Int64(count)
        let isWrong = count == 0 ? readBytes != blob.sizeBytes : readBytes > blob.sizeBytes
        if isWrong { throw ArchiveError(blob.path, .wrongSize(expected: blob.sizeBytes, found: readBytes)) }
        if count > 0 {
            let piece = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            hash.update(piece)
            return piece
        }
        let found = hash.digest()
        guard found == blob.digest else {
            throw ArchiveError(blob.path, .wrongDigest(expected: blob.digest, found: found))
        }
        return nil
    }
}
