// Canaries: images with made-up names, by which `doctor` sees whether a runtime's pulls arrive here. A canary is served
// by this server alone, whatever registry the request names, and nothing of it is kept. Its content is that of the
// built-in image.

internal import BuiltinImage
internal import OCI

/// The name of a canary's repository: `ociregistry-canary/` and an id of 32 hexadecimal digits, which doctor makes up.
/// Docker Hub has no such name, since its user names have no hyphens.
package enum CanaryName {
    package static let namespace: StaticString = "ociregistry-canary/"
    package static let idBytes = 32
    private static let nameBytes = namespace.utf8CodeUnitCount + idBytes
    /// The tag that is served, and the tag that is refused: what a runtime does then is a part of the diagnosis.
    package static let servedTag = "pull"
    package static let refusedTag = "refuse"

    /// The id in a repository of a request, which may have a host before it; nil for any other repository.
    @inline(__always)
    static func id(in name: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        // Nearly every name ends the check here.
        guard name.count >= nameBytes, name[name.count &- idBytes &- 1] == 0x2F else { return nil }
        return idBehindNamespace(name)
    }

    @inline(never)
    private static func idBehindNamespace(_ name: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        let start = name.count - nameBytes
        guard start == 0 || name[start - 1] == 0x2F else { return nil }
        let middle = start + namespace.utf8CodeUnitCount
        guard UnsafeRawBufferPointer(rebasing: name[start..<middle]).equals(namespace) else { return nil }
        let id = UnsafeRawBufferPointer(rebasing: name[middle...])
        return isID(id) ? id : nil
    }

    static func isID(_ text: UnsafeRawBufferPointer) -> Bool {
        text.count == idBytes && text.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }
}

/// The content of canaries, and the requests for them that have arrived.
final class Canaries {
    /// Canaries whose requests are remembered, and requests of each. The oldest canary is forgotten first.
    static let maximumCanaries = 64
    static let maximumArrivals = 32
    /// Longest text of a request that is remembered, in bytes.
    static let maximumTextBytes = 256

    let content = Builtin(HelloWorldImage())
    private var arrivals: [String: [CanaryArrivals.Arrival]] = [:]
    private var order: [String] = []

    func record(_ arrival: CanaryArrivals.Arrival, of id: String) {
        if arrivals[id] == nil {
            if order.count >= Canaries.maximumCanaries { arrivals[order.removeFirst()] = nil }
            order.append(id)
            arrivals[id] = []
        }
        guard let count = arrivals[id]?.count, count < Canaries.maximumArrivals else { return }
        arrivals[id]?.append(arrival)
    }

    func arrivals(of id: String) -> CanaryArrivals { CanaryArrivals(requests: arrivals[id] ?? []) }
}

extension API {
    /// Answers a request for a canary, and remembers it.
    func canary(
        _ connection: Connection, _ route: Route, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer,
        _ id: UnsafeRawBufferPointer
    ) {
        connection.measure.namesNoUpstream()
        let (naming, host) = naming(connection, route, head, bytes)
        func text(_ bytes: UnsafeRawBufferPointer) -> String {
            String(decoding: bytes.prefix(Canaries.maximumTextBytes), as: UTF8.self)
        }
        let kind =
            switch route.kind {
            case .manifest: "manifests"
            case .blob: "blobs"
            case .tags: "tags"
            default: "referrers"
            }
        let agent = Headers(head, in: bytes).values(named: "user-agent").first ?? ""
        canaries.record(
            .init(
                method: head.method == .head ? "HEAD" : "GET", request: "\(kind)/\(text(route.reference))",
                namedBy: naming,
                host: host, client: connection.peerName,
                userAgent: String(decoding: agent.utf8.prefix(Canaries.maximumTextBytes), as: UTF8.self)),
            of: text(id))
        switch route.kind {
        case .manifest: canaryManifest(connection, route.reference)
        case .blob: canaryBlob(connection, route.reference)
        case .tags:
            answerJSON(connection, "{\"name\":\"canary\",\"tags\":[\"\(CanaryName.servedTag)\"]}", .none)
        default:
            connection.respond(RegistryError(status: 404, code: .manifestUnknown, message: "a canary has no referrers"))
        }
    }

    private func canaryManifest(_ connection: Connection, _ reference: UnsafeRawBufferPointer) {
        let tag = String(decoding: reference, as: UTF8.self)
        guard tag != CanaryName.refusedTag else {
            return connection.respond(
                RegistryError(
                    status: 403, code: .denied, message: "this canary is refused",
                    detail: "its mirror tests what a client does then"))
        }
        let content = canaries.content
        let isServed = tag == CanaryName.servedTag
        guard let manifest = isServed ? content.index : Digest(ascii: reference).flatMap({ content.manifests[$0] })
        else {
            return connection.respond(
                RegistryError(status: 404, code: .manifestUnknown, message: "not a manifest of the canary"))
        }
        connection.respond(status: 200, manifest, verdict: .none)
    }

    private func canaryBlob(_ connection: Connection, _ reference: UnsafeRawBufferPointer) {
        guard let digest = Digest(ascii: reference), let blob = canaries.content.blobs[digest] else {
            return connection.respond(
                RegistryError(status: 404, code: .blobUnknown, message: "not a blob of the canary"))
        }
        // A range is not honoured: sending the whole is always correct (RFC 9110 §14.2).
        connection.respond(
            status: 200, fields: API.blobFields(digest, Int64(blob.memory.count)),
            content: .memory(blob.memory, owner: blob), verdict: .none)
    }

    /// How the request names its registry, and which it is.
    private func naming(
        _ connection: Connection, _ route: Route, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer
    ) -> (CanaryArrivals.Naming, String) {
        guard let found = try? upstream(connection, route, head, bytes) else { return (.none, "") }
        let host = found.host.host.text
        if let header = head.registryHeader, !header.isEmpty { return (.header, host) }
        if case .value(let text) = QueryItems(head.query.in(bytes)).item(named: "ns"), !text.isEmpty {
            return (.ns, host)
        }
        if !route.prefix.isEmpty { return (.prefix, host) }
        // A host in the path is not a part of the repository.
        return (found.name.count < route.name.count ? .path : .defaultNamespace, host)
    }
}
