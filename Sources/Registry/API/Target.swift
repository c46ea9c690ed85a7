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
        host.bytes.withUnsafeBytes {
            store.tag(TagBytes(host: $0, isLibrary: isLibrary, repository: name, tag: tag))
        }
    }

    /// Finds the host, in this order: `X-Registry`, `ns`, a first path segment that is a host, the default namespace.
    /// - Returns: the host, and the repository part of the path.
    static func upstream(
        name: UnsafeRawBufferPointer, explicit: UnsafeRawBufferPointer?, hosts: inout HostTable,
        defaultHost: HostTable.Entry?
    ) throws(RegistryError) -> (host: HostTable.Entry, name: UnsafeRawBufferPointer) {
        if let explicit {
            guard let host = hosts.entry(for: explicit) else {
                throw RegistryError(
                    status: 400, code: .nameInvalid, message: "X-Registry or ns is not of the form host[:port]")
            }
            return (host, name)
        }
        if let slash = name.offset(of: 0x2F) {
            let segment = UnsafeRawBufferPointer(rebasing: name[..<slash])
            if RegistryHost.looksLikeHost(segment), let host = hosts.entry(for: segment) {
                return (host, UnsafeRawBufferPointer(rebasing: name[(slash + 1)...]))
            }
        }
        guard let defaultHost else {
            throw RegistryError(
                status: 400, code: .nameInvalid,
                message: "no upstream can be derived: name one by ns, X-Registry or the first path segment")
        }
        return (defaultHost, name)
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
