// Fuzzes client input: requests in pieces, and the values inside them.

import OCI
import Registry

enum RequestEntries {
    private static let digest = Digest("sha256:" + String(repeating: "ab", count: 32))

    /// The first byte sets the size of the pieces in which the rest arrives.
    static func request(_ bytes: UnsafeRawBufferPointer) {
        var input = InputReader(bytes)
        let step = Int(input.byte()) + 1
        let rest = input.rest
        if case .head(let head) = RequestParser.parse(rest) {
            require(head.length > 0 && head.length <= rest.count, "a head of \(head.length) bytes")
        }
        var machine = ServerConnectionMachine()
        var memory: FieldsMemory? = FieldsMemory()
        var kept: [UInt8] = []
        var offset = 0
        repeat {
            let end = min(offset + step, rest.count)
            kept += rest[offset..<end]
            offset = end
            if offset == rest.count { machine.inputEnded() }
            guard drain(&machine, &memory, &kept) else { return }
        } while offset < rest.count
    }

    /// - Returns: false at the end of the connection.
    private static func drain(
        _ machine: inout ServerConnectionMachine, _ memory: inout FieldsMemory?, _ kept: inout [UInt8]
    ) -> Bool {
        while true {
            let step = kept.withUnsafeBytes { machine.next($0, &memory) }
            switch step {
            case .needMore: return true
            case .end, .refuse: return false
            case .skip(let count):
                require(count > 0 && count <= kept.count, "skips \(count) of \(kept.count)")
                kept.removeFirst(count)
            case .request(let head, let consumed):
                require(consumed > 0 && consumed <= kept.count, "takes \(consumed) of \(kept.count)")
                kept.withUnsafeBytes { look(at: head, in: $0) }
                kept.removeFirst(consumed)
                machine.responseFinished()
            }
        }
    }

    private static func look(at head: RequestHead, in bytes: UnsafeRawBufferPointer) {
        let headers = Headers(head, in: bytes)
        headers.forEach { _, _ in }
        _ = AcceptedTypes.extra(headers.values(named: "accept"))
        _ = try? ViaChain.extend(headers.joined(named: "via"), with: "fuzz")
        let path = head.path.in(bytes)
        let query = QueryItems(head.query.in(bytes))
        _ = query.names
        _ = RegistryHost(String(decoding: head.host.in(bytes), as: UTF8.self))
        if AdminCommand.isMeant(path) { _ = try? AdminCommand(path: path, query: query) }
        let route = Route(path)
        _ = Reference(String(decoding: route.reference, as: UTF8.self))
        _ = RepositoryName.isValid(route.name)
        tags(query)
        _ = ListLink.forwarded(head.query.in(bytes))
        _ = ListLink(path: "/v2/a/tags/list", namespace: "a.b").link(to: String(decoding: path, as: UTF8.self))
        if let range = head.range { check(ByteRange.resolve(range.in(bytes), size: 1000), size: 1000) }
        if let digest, let tag = head.ifNoneMatch { _ = EntityTag.matches(ifNoneMatch: tag.in(bytes), digest: digest) }
    }

    private static func tags(_ query: QueryItems) {
        guard let parameters = try? PageQuery(query) else { return }
        _ = parameters.link(path: "/v2/a/b/tags/list", last: "c")
    }

    /// The input is a size, followed by the value of Range.
    static func range(_ bytes: UnsafeRawBufferPointer) {
        var input = InputReader(bytes)
        let size = Int64.max & input.number()
        check(ByteRange.resolve(input.rest, size: size), size: size)
        guard let digest else { return }
        _ = EntityTag.allowsRange(ifRange: input.rest, digest: digest)
        _ = EntityTag.matches(ifNoneMatch: input.rest, digest: digest)
    }

    private static func check(_ range: ByteRange, size: Int64) {
        let ranges: [ClosedRange<Int64>]
        switch range {
        case .some(let bytes): ranges = [bytes]
        case .several(let set): ranges = set
        case .none, .tooMany, .unsatisfiable: return
        }
        for bytes in ranges { require(bytes.lowerBound >= 0 && bytes.upperBound < size, "\(bytes) of \(size)") }
        let parts = MultipartRanges(ranges, sizeBytes: size, partType: "a/b")
        require(ranges.isEmpty || parts.lengthBytes > 0, "a body of \(parts.lengthBytes)")
    }
}
