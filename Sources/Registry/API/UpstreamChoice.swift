// Which registry a request is for: by `X-Registry`, `ns=`, a host before `/v2` or in the path, or the default.

internal import OCI

extension API {
    func upstream(
        _ connection: Connection, _ route: Route, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer
    ) throws(RegistryError) -> (host: HostTable.Entry, name: UnsafeRawBufferPointer)? {
        if let header = head.registryHeader, !header.isEmpty {
            return try derive(route.name, header.in(bytes))
        }
        let prefix = route.prefix.isEmpty ? nil : route.prefix
        guard !head.query.isEmpty else { return try derive(route.name, prefix) }
        let query = head.query.in(bytes)
        let found: (host: HostTable.Entry, name: UnsafeRawBufferPointer)?
        if let plain = API.plainNamespace(query) {
            found = try derive(route.name, plain)
        } else {
            switch QueryItems(query).item(named: "ns") {
            case .absent: return try derive(route.name, prefix)
            case .malformed:
                throw RegistryError(status: 400, code: .nameInvalid, message: "malformed ns parameter")
            case .value(let text) where text.isEmpty: return try derive(route.name, prefix)
            case .value(let text): found = try derive(route.name, text)
            }
        }
        if let found { connection.extraField = found.host.namespaceField }
        return found
    }

    private func derive(
        _ name: UnsafeRawBufferPointer, _ explicit: UnsafeRawBufferPointer?
    ) throws(RegistryError) -> (host: HostTable.Entry, name: UnsafeRawBufferPointer)? {
        try Target.upstream(name: name, explicit: explicit, hosts: &hosts, defaultHost: defaultHost)
    }

    private func derive(
        _ name: UnsafeRawBufferPointer, _ explicit: String
    ) throws(RegistryError) -> (host: HostTable.Entry, name: UnsafeRawBufferPointer)? {
        let bytes = Array(explicit.utf8)
        let result = bytes.withUnsafeBytes { raw in Result { () throws(RegistryError) in try derive(name, raw) } }
        return try result.get()
    }

    /// The value of a query that is only `ns=value` without escapes, as containerd sends it.
    private static func plainNamespace(_ query: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        guard query.count > 3, query[0] == 0x6E, query[1] == 0x73, query[2] == 0x3D else { return nil }
        let value = UnsafeRawBufferPointer(rebasing: query[3...])
        return value.offset(of: 0x26) == nil && value.offset(of: 0x25) == nil ? value : nil
    }
}
