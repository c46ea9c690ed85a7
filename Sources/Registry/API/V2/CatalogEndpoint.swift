// `GET /v2/_catalog`: the repositories that the cache has images of. `podman search`, `crane catalog` and
// `oras repo ls` ask for it.

internal import BuiltinImage
internal import Configuration
internal import OCI

/// Lists the cache's repositories off the loop, once for all requests that wait meanwhile, and again only after a
/// pause: each list reads the whole cache, and any client may ask for one.
final class CatalogScan {
    /// How old a list may be.
    static let lifetimeMilliseconds: UInt64 = 10_000

    private let store: Store
    private let loop: EventLoop
    private let names: NameDecisions
    /// Whether the built-in image is served.
    var hasBuiltin: Bool { didSet { latest = nil } }
    private var waiting: [([RepositoryEntry]?) -> Void] = []
    private var latest: (entries: [RepositoryEntry], endMilliseconds: UInt64)?

    init(_ store: Store, on loop: EventLoop, names: NameDecisions, hasBuiltin: Bool) {
        self.store = store
        self.loop = loop
        self.names = names
        self.hasBuiltin = hasBuiltin
    }

    /// The repositories that are served from the program itself.
    private var builtin: [RepositoryEntry] {
        let repository = hasBuiltin ? RepositoryName("\(HelloWorldImage.repository)") : nil
        return repository.map { [RepositoryEntry(host: HelloWorldImage.host, repository: $0)] } ?? []
    }

    /// A repository that the cache has an image of.
    struct RepositoryEntry: Sendable, Hashable {
        let host: RegistryHost
        let repository: RepositoryName
    }

    /// Forgets the list, which has the names that the former policy allowed.
    func policyChanged() { latest = nil }

    /// Lists the repositories that may be pulled.
    /// - Parameter then: called later with the repositories, or nil when the cache cannot be read.
    func list(then: @escaping ([RepositoryEntry]?) -> Void) {
        if let latest, loop.nowMilliseconds < latest.endMilliseconds {
            return loop.deferred.complete(then, latest.entries)
        }
        waiting.append(then)
        if waiting.count == 1 { scan() }
    }

    private func scan() {
        let (policy, generation, builtin) = (names.policy, names.generation, builtin)
        store.images { images in
            let all = Set(images.map { RepositoryEntry(host: $0.host, repository: $0.repository) } + builtin)
            return all.filter { policy.isOpen || policy.decide(host: $0.host, repository: $0.repository) == .allowed }
                .map { $0 }
        } then: { [self] result in
            guard generation == names.generation else { return scan() }
            let all = waiting
            waiting = []
            let entries = try? result.get()
            latest = entries.map { ($0, loop.nowMilliseconds + CatalogScan.lifetimeMilliseconds) }
            loop.deferred.forEach(all) { $0(entries) }
        }
    }
}

/// One page of the catalog.
struct CatalogPage: Sendable {
    /// The JSON body: `{"repositories":[…]}`.
    let body: [UInt8]
    /// The last name of the page, after which the next page begins; nil on the last page.
    let last: String?

    /// - Parameters:
    ///   - host: the upstream whose repositories are listed, by their names alone; nil: all, as `HOST/NAME`.
    ///   - last: only names after it, in the order of their bytes.
    init(_ entries: [CatalogScan.RepositoryEntry], host: RegistryHost?, limit: Int, after last: String?) {
        var names = entries.compactMap { entry in
            guard let host else { return "\(entry.host)/\(entry.repository)" }
            return entry.host == host ? entry.repository.text : nil
        }
        if let last { names.removeAll { !last.utf8.lexicographicallyPrecedes($0.utf8) } }
        names.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let page = names.prefix(limit)
        // Names of repositories and hosts hold nothing that JSON escapes.
        let quoted = page.map { "\"\($0)\"" }.joined(separator: ",")
        body = Array("{\"repositories\":[\(quoted)]}\n".utf8)
        self.last = page.count < names.count ? page.last : nil
    }
}

extension API {
    /// Lists the repositories of the upstream that the request names, or of the default one; of all upstreams when
    /// there is neither.
    func catalog(_ connection: Connection, _ route: Route, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer) {
        let parameters: PageQuery
        let host: RegistryHost?
        do throws(RegistryError) {
            parameters = try PageQuery(QueryItems(head.query.in(bytes)))
            host = try upstream(connection, route, head, bytes)?.host.host
        } catch {
            return connection.respond(error)
        }
        let path = (route.prefix.isEmpty ? "" : "/" + String(decoding: route.prefix, as: UTF8.self)) + "/v2/_catalog"
        let pending = PendingResponse(connection, deadlineMilliseconds: policy.answerDeadlineMilliseconds) {
            $0.respond(.unavailable("the cache has not been read in time"))
        }
        catalogScan.list { [self] entries in
            guard let entries else { return pending.answer { $0.respond(.unavailable("the cache cannot be read")) } }
            let (limit, last) = (parameters.limit ?? PageQuery.maximumLimit, parameters.last)
            offload.run {
                CatalogPage(entries, host: host, limit: limit, after: last)
            } then: { (result: Result<CatalogPage, any Error>) in
                guard case .success(let page) = result else { return }
                pending.answer { connection in
                    let link = page.last.map { ("Link", parameters.link(path: path, last: $0)) }
                    connection.respond(
                        status: 200,
                        fields: ResponseFields.json(length: page.body.count, extra: link.map { [$0] } ?? []),
                        body: page.body, verdict: .hit)
                }
            }
        }
    }
}
