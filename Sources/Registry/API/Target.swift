// The upstream host and repository of a request.

internal import OCI

/// A request's upstream host and repository, by reference into the request's bytes: enough for a hit.
struct Target {
    let host: HostTable.Entry
    /// Whether `library/` has to be added before the name: for one-segment repositories of Docker Hub.
    let isLibrary: Bool
    /// The repository part of the path.
    let name: UnsafeRawBufferPointer

    /// The repository name at the upstream.
    var repository: RepositoryName? {
        RepositoryName((isLibrary ? "library/" : "") + String(decoding: name, as: UTF8.self))
    }

    /// The record of a tag, from memory.
    func tag(_ tag: UnsafeRawBufferPointer, in store: Store) -> TagRecord? {
        withBytes { store.tag(TagBytes($0, tag: tag)) }
    }

    /// Calls `body` with the repository's name, valid during the call.
    @inline(__always)
    func withBytes<R>(_ body: (RepositoryBytes) -> R) -> R {
        host.bytes.withUnsafeBytes { body(RepositoryBytes(host: $0, isLibrary: isLibrary, repository: name)) }
    }

    /// Finds the host, in this order: `X-Registry`, `ns`, a first path segment that is a host, the default namespace.
    /// - Returns: the host, and the repository part of the path; nil when the request names no upstream.
    static func upstream(
        name: UnsafeRawBufferPointer, explicit: UnsafeRawBufferPointer?, hosts: inout HostTable,
        defaultHost: HostTable.Entry?
    ) throws(RegistryError) -> (host: HostTable.Entry, name: UnsafeRawBufferPointer)? {
        if let explicit {
            guard let host = hosts.entry(for: explicit) else {
                throw RegistryError(
                    status: 400, code: .nameInvalid, message: "X-Registry or ns is not of the form host[:port]")
            }
            // containerd's `override_path` names the host in the path as well.
            if let inPath = hostInPath(name, &hosts), inPath.host.host == host.host { return inPath }
            return (host, name)
        }
        if let inPath = hostInPath(name, &hosts) { return inPath }
        return defaultHost.map { ($0, name) }
    }

    @inline(__always)
    private static func hostInPath(
        _ name: UnsafeRawBufferPointer, _ hosts: inout HostTable
    ) -> (host: HostTable.Entry, name: UnsafeRawBufferPointer)? {
        guard let slash = name.offset(of: 0x2F) else { return nil }
        let segment = UnsafeRawBufferPointer(rebasing: name[..<slash])
        guard RegistryHost.looksLikeHost(segment), let host = hosts.entry(for: segment) else { return nil }
        return (host, UnsafeRawBufferPointer(rebasing: name[(slash + 1)...]))
    }

    /// - Throws: 400 when the name is invalid.
    init(_ host: HostTable.Entry, _ name: UnsafeRawBufferPointer) throws(RegistryError) {
        guard RepositoryName.isValid(name) else {
            throw RegistryError(status: 400, code: .nameInvalid, message: "invalid repository name")
        }
        self.host = host
        self.name = name
        isLibrary = host.host.isDockerHub && name.offset(of: 0x2F) == nil
    }
}
