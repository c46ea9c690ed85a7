// Parses a request target. Keywords are searched from the right, so names may have any depth and contain keywords.

internal import OCI

/// The parts of a `/v2/` target, as slices of its path.
package struct Route {
    package enum Kind: UInt8 {
        /// `GET /v2/`
        case ping
        /// `GET /v2/auth`
        case auth
        case manifest
        case blob
        case tags
        case referrers
        /// `GET /v2/_catalog`
        case catalog
        /// An upload: part of the specification, refused here.
        case upload
        case unknown
    }

    package private(set) var kind: Kind
    /// The repository part of the path, with its host segment.
    package private(set) var name: UnsafeRawBufferPointer = .init(start: nil, count: 0)
    /// Tag or digest.
    package private(set) var reference: UnsafeRawBufferPointer = .init(start: nil, count: 0)
    /// The host before `/v2`: `registry.example` in `/registry.example/v2/…`; empty without one.
    package private(set) var prefix: UnsafeRawBufferPointer = .init(start: nil, count: 0)

    /// Parses a percent-decoded path without its query.
    package init(_ path: UnsafeRawBufferPointer) {
        kind = .unknown
        guard path.count >= 3, path[0] == 0x2F, path[1] == 0x76, path[2] == 0x32 else {
            readPrefixed(path)
            return
        }
        if path.count <= 4 {
            kind = path.count == 3 || path[3] == 0x2F ? .ping : .unknown
            return
        }
        guard path[3] == 0x2F else { return }
        let rest = UnsafeRawBufferPointer(rebasing: path[4...])
        guard let last = rest.lastOffset(of: 0x2F) else {
            kind = rest.equals("auth") ? .auth : rest.equals("_catalog") ? .catalog : .unknown
            return
        }
        read(rest, last)
    }

    /// `/HOST/v2/…`, which is what a client makes of a mirror's address with a path (containerd's hosts.toml, systemd's
    /// `overrideRegistry`).
    private mutating func readPrefixed(_ path: UnsafeRawBufferPointer) {
        guard path.count > 4, path[0] == 0x2F,
            let slash = UnsafeRawBufferPointer(rebasing: path[1...]).offset(of: 0x2F)
        else { return }
        let segment = UnsafeRawBufferPointer(rebasing: path[1..<slash + 1])
        let rest = UnsafeRawBufferPointer(rebasing: path[(slash + 1)...])
        guard RegistryHost.looksLikeHost(segment), rest.count >= 3, rest[1] == 0x76, rest[2] == 0x32 else { return }
        self = Route(rest)
        prefix = segment
    }

    private mutating func read(_ rest: UnsafeRawBufferPointer, _ last: Int) {
        let tail = UnsafeRawBufferPointer(rebasing: rest[(last + 1)...])
        guard let middle = UnsafeRawBufferPointer(rebasing: rest[..<last]).lastOffset(of: 0x2F) else { return }
        let keyword = UnsafeRawBufferPointer(rebasing: rest[(middle + 1)..<last])
        guard middle > 0 else { return }
        name = UnsafeRawBufferPointer(rebasing: rest[..<middle])
        reference = tail
        switch keyword.count {
        case 9 where keyword.equals("manifests"): kind = .manifest
        case 5 where keyword.equals("blobs"): kind = tail.equals("uploads") ? .upload : .blob
        case 4 where keyword.equals("tags") && tail.equals("list"): kind = .tags
        case 9 where keyword.equals("referrers"): kind = .referrers
        case 7 where keyword.equals("uploads"): readUpload(rest, middle)
        default: kind = .unknown
        }
    }

    /// `<name>/blobs/uploads/` and `<name>/blobs/uploads/<session>`.
    private mutating func readUpload(_ rest: UnsafeRawBufferPointer, _ middle: Int) {
        guard let blobs = UnsafeRawBufferPointer(rebasing: rest[..<middle]).lastOffset(of: 0x2F), blobs > 0,
            UnsafeRawBufferPointer(rebasing: rest[(blobs + 1)..<middle]).equals("blobs")
        else { return }
        kind = .upload
        name = UnsafeRawBufferPointer(rebasing: rest[..<blobs])
    }
}
