// A content request in its two forms: by reference into its bytes, and owned while it waits.

internal import OCI

/// A content request by reference into its bytes.
struct Request {
    let route: Route
    let target: Target
    let head: RequestHead
    let bytes: UnsafeRawBufferPointer

    var isHead: Bool { head.method == .head }
    /// Whether a precondition or a range is present, so that the response may not be the whole content.
    var isConditional: Bool { head.range != nil || head.ifNoneMatch != nil }
    var conditions: Conditions { Conditions(head, bytes) }
}

extension Route {
    /// The path of a repository's list on this server, as the client names the repository.
    func shownPath(_ end: String) -> String {
        let before = prefix.isEmpty ? "" : "/" + String(decoding: prefix, as: UTF8.self)
        return "\(before)/v2/\(String(decoding: name, as: UTF8.self))/\(end)"
    }
}

/// The preconditions and range of a request, owned.
struct Conditions {
    private let range: [UInt8]?
    private let ifRange: [UInt8]?
    private let ifNoneMatch: [UInt8]?

    init(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer) {
        // A range is defined for GET only (RFC 9110 §14.2).
        range = head.method == .get ? head.range.map { Array($0.in(bytes)) } : nil
        ifRange = head.ifRange.map { Array($0.in(bytes)) }
        ifNoneMatch = head.ifNoneMatch.map { Array($0.in(bytes)) }
    }

    /// The response to give, by the order of RFC 9110 §13.2.2.
    enum Plan {
        case notModified
        case unsatisfiable
        case whole
        case part(ClosedRange<Int64>)
        case parts([ClosedRange<Int64>])
        case refused(RegistryError)
    }

    /// Whether the range ends where the content does because no end was requested: such a request is the rest of an
    /// interrupted one, or one of several that read the whole.
    var isOpenEnded: Bool { range?.withUnsafeBytes { ByteRange.isOpenEnded($0) } ?? true }

    func plan(digest: Digest, sizeBytes: Int64) -> Plan {
        if let ifNoneMatch, ifNoneMatch.withUnsafeBytes({ EntityTag.matches(ifNoneMatch: $0, digest: digest) }) {
            return .notModified
        }
        guard let range else { return .whole }
        if let ifRange, !ifRange.withUnsafeBytes({ EntityTag.allowsRange(ifRange: $0, digest: digest) }) {
            return .whole
        }
        switch range.withUnsafeBytes({ ByteRange.resolve($0, size: sizeBytes) }) {
        case .none: return .whole
        case .unsatisfiable: return .unsatisfiable
        case .some(let part): return .part(part)
        case .several(let parts): return .parts(parts)
        case .tooMany:
            return .refused(
                RegistryError(
                    status: 400, code: .unsupported,
                    message: "more than \(ByteRange.maximumRanges) ranges in one request"))
        }
    }
}

/// A content request that has to wait for the disk or an upstream.
struct OwnedRequest {
    let isHead: Bool
    let isHTTP10: Bool
    let conditions: Conditions
    private(set) var source: PullSource
    /// The repository of a tag's request, under the policies by which the request was decided; nil without a cooldown.
    var cooldownScope: CooldownScope?

    /// Copies what the response will need.
    /// - Throws: 508 when the request has passed through this server before (`Via`), 400 for an invalid repository
    ///   name.
    init(_ request: Request, pseudonym: String, _ connection: Connection) throws(RegistryError) {
        isHead = request.isHead
        isHTTP10 = request.head.minorVersion == 0
        conditions = request.conditions
        guard let repository = request.target.repository else {
            throw RegistryError(status: 400, code: .nameInvalid, message: "invalid repository name")
        }
        let headers = Headers(request.head, in: request.bytes)
        let via = try ViaChain.extend(request.head.hasVia ? headers.joined(named: "via") : nil, with: pseudonym)
        source = PullSource(
            host: request.target.host.host, repository: repository,
            extraAccept: AcceptedTypes.extra(headers.values(named: "accept")), via: via)
        source.requestID = connection.requestID
        source.client = connection.peerAddress?.clientNetwork
    }
}
