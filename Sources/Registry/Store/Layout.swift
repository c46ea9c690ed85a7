// The store's paths. Pure: paths from values and values from names, without access to the disk.
//
//   <image-path>/store-v1/            all other files under the image path belong to others and are not touched
//     LOCK                            locked by flock for the life of the process; holds a note about the process
//     ADMIN                           the running server's Unix socket for the operator
//     blobs/<alg>/<2 hex>/<hex>       bytes; a file under such a name always hashes to it
//     manifests/<type>/<alg>/<2 hex>/<hex>   verbatim bytes; the type is a directory, so that one rename publishes both
//     tags/<host>/<repository…>/_tags/<tag>  "<digest>\n"; no repository component can begin with an underscore
//     tags/<host>/<repository…>/_digests/<alg>-<hex>  "<digest>\n": pulled there by digest
//     lists/<host>/<repository…>/_tags     a list of tags as its upstream sent it (Lists/KeptList.swift)
//     lists/<host>/<repository…>/_referrers/<alg>-<hex>  the referrers of a manifest
//     ACCESS                          when manifests were last served, a line each: seconds and digest
//     PROOFS                          in which repositories content may be served, a line each (Proofs/ProofLine.swift)
//     CHECKS                          when upstreams last confirmed tags, a line each: name and seconds
//     LEDGER                          what cooldown remembers, a line each (Cooldown/LedgerLine.swift)
//     SCRUB                           progress of the scrub, lines of key and value
//     partial/<alg>-<hex>-<16 hex>    an ingest's file; the last part is of sha256(host "/" repository)
//     temporary/                      small files being written; emptied at start
//     quarantine/                     damaged or foreign files, named by their old name and the reason

internal import OCI

/// A tag of a repository of a host.
struct TagName: Hashable, Sendable, CustomStringConvertible {
    let host: RegistryHost
    let repository: RepositoryName
    let tag: String

    /// The image reference; no host has a slash and no tag a colon, so different tags have different texts.
    var description: String { "\(host.text)/\(repository.text):\(tag)" }
}

/// The store's paths.
struct Layout: Sendable {
    /// Changes when a new layout must not be touched by older servers.
    static let directoryName = "store-v1"
    /// Hexadecimal digits that name a shard directory: 256 shards keep directories small without ext4's indexes.
    static let shardDigits = 2
    /// Hexadecimal digits for host and repository in a partial file's name: 64 bits exclude accidental collisions.
    static let partialSourceDigits = 16

    let root: String
    /// The group that gets access to new files and directories of the store.
    var group = GroupAccess.none

    init(imagePath: String) {
        var base = imagePath
        while base.utf8.count > 1, base.utf8.last == 0x2F { base.removeLast() }
        root = (base == "/" ? "" : base) + "/" + Layout.directoryName
    }

    var lock: String { root + "/LOCK" }
    var access: String { root + "/ACCESS" }
    var proofs: String { root + "/PROOFS" }
    var checks: String { root + "/CHECKS" }
    var ledger: String { root + "/LEDGER" }
    var scrub: String { root + "/SCRUB" }
    var admin: String { root + "/ADMIN" }
    var blobs: String { root + "/blobs" }
    var manifests: String { root + "/manifests" }
    var tags: String { root + "/tags" }
    var lists: String { root + "/lists" }
    var partial: String { root + "/partial" }
    var temporary: String { root + "/temporary" }
    /// The file that a disk check makes and removes.
    var probe: String { temporary + "/probe" }
    var quarantine: String { root + "/quarantine" }

    func blobDirectory(_ digest: Digest) -> String { "\(blobs)/\(Layout.shard(digest))" }
    func blob(_ digest: Digest) -> String { "\(blobDirectory(digest))/\(digest.hex)" }

    func manifestDirectory(_ digest: Digest, _ type: MediaType) -> String {
        "\(manifests)/\(type.directoryName)/\(Layout.shard(digest))"
    }
    func manifest(_ digest: Digest, _ type: MediaType) -> String {
        "\(manifestDirectory(digest, type))/\(digest.hex)"
    }

    func tagDirectory(_ name: TagName) -> String {
        "\(tags)/\(name.host.text)/\(name.repository.text)/\(Layout.tagsName)"
    }
    func tag(_ name: TagName) -> String { "\(tagDirectory(name))/\(name.tag)" }

    func partialFile(_ key: PullKey) -> String {
        var source = "\(key.host.text)/\(key.repository.text)"
        let hash = source.withUTF8 { SHA256.hash(UnsafeRawBufferPointer($0)) }.hex.prefix(Layout.partialSourceDigits)
        return "\(partial)/\(key.digest.algorithm.name)-\(key.digest.hex)-\(hash)"
    }

    static let tagsName = "_tags"
    static let digestsName = "_digests"

    func digestsDirectory(_ host: RegistryHost, _ repository: RepositoryName) -> String {
        "\(tags)/\(host.text)/\(repository.text)/\(Layout.digestsName)"
    }

    static func digestFileName(_ digest: Digest) -> String { "\(digest.algorithm.name)-\(digest.hex)" }

    /// The digest from a name that `digestFileName` made; nil for any other name.
    static func readDigestFileName(_ name: String) -> Digest? {
        guard let dash = name.firstIndex(of: "-") else { return nil }
        return Digest("\(name[..<dash]):\(name[name.index(after: dash)...])")
    }

    /// The file that stores a manifest's name.
    func nameFile(_ host: RegistryHost, _ repository: RepositoryName, _ reference: Reference) -> String {
        switch reference {
        case .tag(let tag): self.tag(TagName(host: host, repository: repository, tag: tag))
        case .digest(let digest): "\(digestsDirectory(host, repository))/\(Layout.digestFileName(digest))"
        }
    }

    private static func shard(_ digest: Digest) -> String {
        "\(digest.algorithm.name)/\(digest.hex.prefix(shardDigits))"
    }

    /// Whether a file name has the form that `partialFile` makes.
    static func isPartialName(_ name: String) -> Bool {
        let parts = name.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[2].utf8.count == partialSourceDigits else { return false }
        return Digest("\(parts[0]):\(parts[1])") != nil && parts[2].utf8.allSatisfy(ASCII.isHexadecimal)
    }

    /// The content of a tag's file.
    static func tagContent(_ digest: Digest) -> [UInt8] { Array("\(digest)\n".utf8) }

    /// Reads what `tagContent` wrote; nil for anything else.
    static func readTag(_ content: UnsafeRawBufferPointer) -> Digest? {
        guard content.last == 0x0A else { return nil }
        return Digest(ascii: UnsafeRawBufferPointer(rebasing: content.dropLast()))
    }

    /// Longest tag file: "sha512:", 128 digits and the line end.
    static let maximumTagFileBytes = 136
}

extension MediaType {
    /// The directory of manifests of this type.
    var directoryName: String {
        switch self {
        case .ociIndex: "oci-index"
        case .ociManifest: "oci-manifest"
        case .dockerManifestList: "docker-list"
        case .dockerManifest: "docker-manifest"
        case .ociArtifact: "oci-artifact"
        }
    }

    init?(directoryName: String) {
        guard let match = MediaType.allCases.first(where: { $0.directoryName == directoryName }) else { return nil }
        self = match
    }
}
