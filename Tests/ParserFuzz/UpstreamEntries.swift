// Fuzzes upstream input: heads, challenges, tokens, manifests, lists and URLs.

import OCI
import Registry

enum UpstreamEntries {
    private static let host = RegistryHost.dockerHub

    /// The input is a byte of choices, followed by the lines of a head.
    static func head(_ bytes: UnsafeRawBufferPointer) {
        guard let url = UpstreamURL("https://registry.example/v2/") else { return }
        var input = InputReader(bytes)
        let choice = input.byte()
        var lines = HeadLines(url: url, isHead: choice & 1 != 0)
        let first = "HTTP/1.1 \([200, 206, 416, 401, 307, 429, 404, 503][Int(choice >> 1 & 7)]) X\r\n"
        _ = Array(first.utf8).withUnsafeBytes { lines.read($0) }
        for line in input.rest.split(separator: 0x0A, omittingEmptySubsequences: false) {
            guard case .more = lines.read(UnsafeRawBufferPointer(rebasing: line)) else { break }
        }
        let end = Array("\r\n".utf8).withUnsafeBytes { lines.read($0) }
        if case .head(let head) = end { look(at: head) }
        for line in input.rest.split(separator: 0x0A) {
            _ = RetryAfter.seconds(String(decoding: line, as: UTF8.self), unixSeconds: 1_700_000_000)
        }
    }

    private static func look(at head: UpstreamHead) {
        require((0...ContentSize.maximum).contains(head.contentLength ?? 0), "\(head.contentLength ?? 0) bytes")
        if let range = head.contentRange {
            require(range.first >= 0 && range.first <= range.last && range.last < ContentSize.maximum, "\(range)")
            require(range.total.map { range.last < $0 && $0 <= ContentSize.maximum } ?? true, "\(range)")
        }
        let error = UpstreamAnswer.error(for: head, kind: .blob, host: host)
        if head.refusedSize != nil, head.status < 300 { require(error?.status == 502, "\(head)") }
        require(head.retryAfter(unixSeconds: 1_700_000_000) ?? 0 >= 0, "a Retry-After in the past")
        _ = error?.json
        _ = head.nextLink
        _ = head.contentType.flatMap { MediaType($0) }
        _ = head.dockerContentDigest.flatMap { Digest($0) }
        _ = BearerChallenge.parse(head.fields.values("www-authenticate"))
        _ = head.fields.first("location").flatMap { head.url.resolving($0) }
    }

    /// The input is the values of WWW-Authenticate, one per line.
    static func challenge(_ bytes: UnsafeRawBufferPointer) {
        let values = bytes.split(separator: 0x0A).map { String(decoding: $0, as: UTF8.self) }
        guard let challenge = BearerChallenge.parse(values), challenge.scheme == .bearer else { return }
        require(!challenge.realm.isEmpty, "a Bearer challenge without a realm")
        _ = UpstreamURL(challenge.realm)?.adding([("service", challenge.service ?? ""), ("scope", "x")])
    }

    static func token(_ bytes: UnsafeRawBufferPointer) {
        guard let reply = try? TokenReply.decode(Array(bytes)) else { return }
        require((60...86_400).contains(reply.expiresInSeconds), "\(reply.expiresInSeconds) s")
        require(reply.token.utf8.allSatisfy { (0x21...0x7E).contains($0) }, "a token that is no field's value")
        var cache = TokenCache()
        cache.insert(reply, for: .init(realm: "r", service: nil, scope: "s", identity: ""), now: 5)
    }

    /// The input is a byte for the Content-Type, followed by a manifest, which is also parsed as tags and as referrers.
    static func manifest(_ bytes: UnsafeRawBufferPointer) {
        var input = InputReader(bytes)
        var types: [String?] = MediaType.acceptTypes.map { $0 }
        types += [nil, "application/json", "text/html; charset=x"]
        let type = types[Int(input.byte()) % types.count]
        let body = input.array
        if let manifest = try? Manifest.decode(body, contentType: type) {
            for blob in manifest.ownBlobs + manifest.manifests {
                require((0...ContentSize.maximum).contains(blob.sizeBytes ?? 0), "a size of \(blob.sizeBytes ?? 0)")
            }
            require(manifest.prefetchedBlobs.allSatisfy { $0.sizeBytes != nil }, "prefetches what has no size")
            _ = manifest.layers.saturatedSum { $0.sizeBytes ?? 0 }
        }
        if let index = try? ReferrersIndex(body) {
            // What is handed on has to be an index again.
            require((try? ReferrersIndex(index.body)) == index, "an index that is another when it is written")
        }
        let list = KeptList(checkedAtSeconds: 5, pages: [body])
        _ = try? ReferrersAnswer(list, cached: [], page: 1, artifactType: "a/b")
        _ = try? TagList(body)
        _ = KeptList(fileContent: body)
    }

    /// The input is a URL and, on the second line, another one relative to it.
    static func url(_ bytes: UnsafeRawBufferPointer) {
        let lines = bytes.split(separator: 0x0A, maxSplits: 1).map { String(decoding: $0, as: UTF8.self) }
        guard let first = lines.first, let url = UpstreamURL(first) else { return }
        require(url.port > 0 && !url.host.isEmpty, "\(url)")
        _ = url.redacted
        _ = url.with(path: "/v2/x", query: "n=1")
        _ = AddressGuard.restriction(ofHost: url.host, refusesPrivate: true)
        if lines.count > 1 { _ = url.resolving(lines[1]) }
    }
}
