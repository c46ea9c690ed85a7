// The registry's HTTP interface: routes a request head to its endpoint.
//
// A request is first answered by reference into its own bytes: a cached manifest or blob is found without copying.
// Only a request that has to wait is copied to an owned form (`OwnedRequest`) and answered by a `PendingResponse`.

package import Configuration
package import Logging
package import OCI

/// Answers `/v2/` requests.
package final class API {
    /// The operator's settings, and the deadlines of responses.
    package struct Policy: Sendable {
        package var airGapped = false
        package var defaultHost: RegistryHost?
        /// Which names may be pulled.
        package var names: NamePolicy
        /// How long cached tags are served.
        package var tags: TagPolicies
        /// How long a client waits for an upstream's first byte before it gets 503. The pull continues, and a retry
        /// joins it. Clients give up a host after about 30 s.
        package var answerDeadlineMilliseconds: UInt64 = 15_000
        /// How long a client waits for the revalidation of a cached tag before the cached manifest is served.
        package var revalidationDeadlineMilliseconds: UInt64 = 1_000

        package init(
            airGapped: Bool, defaultHost: RegistryHost?, names: NamePolicy = NamePolicy(),
            tags: TagPolicies = TagPolicies()
        ) {
            self.airGapped = airGapped
            self.defaultHost = defaultHost
            self.names = names
            self.tags = tags
        }
    }

    let loop: EventLoop
    let offload: Offload
    let store: Store
    let puller: Puller
    private(set) var policy: Policy
    /// The decisions about names, by `policy.names`.
    package let names: NameDecisions
    /// The revalidations of cached tags, by `policy.tags`.
    package let tags: TagChecks
    private(set) var builtin: Builtin?
    /// Answers `/cmd/`; nil: no admin requests.
    package var admin: AdminEndpoint?
    /// The admin access rule of this port.
    package var adminAccess = AdminAccess.closed
    let logger: Logger
    let metrics: Metrics
    let catalogScan: CatalogScan
    let cachedReferrers: CachedReferrersScan
    let listJobs: ListJobs
    var hosts = HostTable()
    var recentAnswers = RecentAnswers()
    private(set) var defaultHost: HostTable.Entry?
    /// This server's name in `Via`, unique to the instance, so that a request that loops back is recognized.
    package let pseudonym: String
    /// The token that `/v2/auth` issues; no request is checked for it.
    let token: String
    let canaries = Canaries()
    /// Answers `/v2/_ociregistry/`; nil: nothing there.
    package var diagnostics: DiagnosticsEndpoint?

    package init(
        loop: EventLoop, offload: Offload, store: Store, puller: Puller, policy: Policy, builtin: Builtin?,
        logger: Logger, metrics: Metrics
    ) {
        self.loop = loop
        self.offload = offload
        self.store = store
        names = NameDecisions(policy.names, loop: loop, offload: offload)
        tags = TagChecks(policy.tags, puller: puller, airGapped: policy.airGapped)
        // Without proofs, denied content could be requested under an allowed name.
        store.requiresProofs = !policy.names.isOpen
        catalogScan = CatalogScan(store, on: loop, names: names, hasBuiltin: builtin != nil)
        cachedReferrers = CachedReferrersScan(store, on: loop)
        listJobs = ListJobs(offload)
        self.puller = puller
        self.policy = policy
        self.builtin = builtin
        self.logger = logger
        self.metrics = metrics
        pseudonym = "ociregistry-" + String(UInt64.random(in: .min ... .max), radix: 16)
        token =
            String(UInt64.random(in: .min ... .max), radix: 16) + String(UInt64.random(in: .min ... .max), radix: 16)
        settingsChanged()
        tags.cooldown.onWait = { [unowned self] in recentAnswers = RecentAnswers() }
    }

    /// Takes other settings, for the requests that arrive from now on.
    package func reload(_ policy: Policy, builtin: Builtin?) {
        self.policy = policy
        self.builtin = builtin
        // They were given under the earlier settings.
        recentAnswers = RecentAnswers()
        settingsChanged()
        replaceNamePolicy(policy.names)
        replaceTagPolicies(policy.tags)
        tags.airGapped = policy.airGapped
        tags.forgetFailures()
        catalogScan.hasBuiltin = builtin != nil
    }

    private func settingsChanged() {
        if builtin != nil, let hub = RegistryHost("docker.io") { metrics.admit(hub) }
        var table = HostTable()
        defaultHost = policy.defaultHost.flatMap { host in
            Array(host.text.utf8).withUnsafeBytes { table.entry(for: $0) }
        }
    }

    /// Answers one request, now or later. The bytes begin with the head and are valid during the call only.
    package func handle(_ connection: Connection, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer) {
        if answerAgain(connection, head, bytes) { return }
        withPath(connection, head, bytes) { handle(connection, head, bytes, $0) }
    }

    /// Handles the copy of a content request that has been counted and that had to wait.
    /// - Parameter isDecided: whether `cooldown` has let it pass.
    func resumeContent(
        _ connection: Connection, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer, isDecided: Bool = false
    ) {
        withPath(connection, head, bytes) { content(connection, Route($0), head, bytes, isDecided: isDecided) }
    }

    /// Calls `body` with the decoded path, valid during the call; answers a path that cannot be decoded.
    @inline(__always)
    func withPath(
        _ connection: Connection, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer,
        _ body: (UnsafeRawBufferPointer) -> Void
    ) {
        let path = head.path.in(bytes)
        guard path.offset(of: 0x25) != nil else { return body(path) }
        // Some clients escape the colon of a digest. An escape must not hide a slash, a space or a control character.
        guard let decoded = PercentEncoding.decode(path, allows: { $0 > 0x20 && $0 != 0x7F && $0 != 0x2F }) else {
            return connection.respond(RegistryError(status: 400, code: .nameInvalid, message: "bad escape in the path"))
        }
        decoded.withUnsafeBytes { body($0) }
    }

    private func handle(
        _ connection: Connection, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer, _ path: UnsafeRawBufferPointer
    ) {
        let route = Route(path)
        guard route.kind != .unknown else {
            if let diagnostics, DiagnosticsEndpoint.isMeant(path) {
                return diagnostics.handle(connection, head, path, canaries)
            }
            if let admin, AdminCommand.isMeant(path) {
                return admin.handle(connection, head, bytes, adminAccess)
            }
            return connection.respond(RegistryError(status: 404, code: .unsupported, message: "no such endpoint"))
        }
        guard head.method == .get || head.method == .head, route.kind != .upload else {
            return connection.respond(
                RegistryError(status: 405, code: .unsupported, message: "this registry is for pulling only"),
                extra: [("Allow", "GET, HEAD")])
        }
        count(connection, route.kind)
        switch route.kind {
        case .ping: answerJSON(connection, "{}", .none)
        case .auth: answerJSON(connection, "{\"token\":\"\(token)\",\"access_token\":\"\(token)\"}", .none)
        case .catalog: catalog(connection, route, head, bytes)
        default:
            if let id = CanaryName.id(in: route.name), diagnostics != nil {
                return canary(connection, route, head, bytes, id)
            }
            content(connection, route, head, bytes)
        }
    }

    /// Counts a request at its arrival, whatever its outcome. *ociregistry* 1.17, whose metrics these are, does not
    /// count tags and referrers.
    @inline(__always)
    func count(_ connection: Connection, _ kind: Route.Kind) {
        switch kind {
        case .manifest:
            connection.measure.isAbout(.manifest)
            metrics.requests.manifestPulls &+= 1
        case .blob:
            connection.measure.isAbout(.blob)
            metrics.requests.blobPulls &+= 1
        case .tags: return connection.measure.isAbout(.tags)
        case .referrers: return connection.measure.isAbout(.referrers)
        default: connection.measure.isAbout(.base)
        }
        metrics.requests.endpointHits &+= 1
    }

    private func content(
        _ connection: Connection, _ route: Route, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer,
        isDecided: Bool = false
    ) {
        let upstream: (host: HostTable.Entry, name: UnsafeRawBufferPointer)
        do throws(RegistryError) {
            guard let found = try self.upstream(connection, route, head, bytes) else {
                connection.measure.namesNoUpstream()
                return cachedContent(connection, route, head, bytes)
            }
            upstream = found
        } catch {
            connection.measure.namesNoUpstream()
            return connection.respond(error)
        }
        do throws(RegistryError) {
            let target = try Target(upstream.host, upstream.name)
            let request = Request(route: route, target: target, head: head, bytes: bytes)
            if !names.isOpen {
                guard try passesNameRules(connection, request) else { return }
            }
            if tags.cooldown.isActive, !isDecided, route.kind == .manifest || route.kind == .blob {
                guard try passesCooldown(connection, request) else { return }
            }
            try admitted(connection, request)
        } catch {
            connection.respond(error)
        }
    }

    /// Runs the endpoint of a request whose name may be pulled.
    @inline(__always)
    private func admitted(_ connection: Connection, _ request: Request) throws(RegistryError) {
        switch request.route.kind {
        case .manifest: try manifest(connection, request)
        case .blob: try blob(connection, request)
        case .tags: try tags(connection, request)
        default: try referrers(connection, request)
        }
    }

    func answerJSON(_ connection: Connection, _ text: String, _ verdict: Verdict) {
        let body = Array(text.utf8)
        connection.respond(status: 200, fields: ResponseFields.json(length: body.count), body: body, verdict: verdict)
    }

    /// A response with a deadline. If the deadline passes while the repository is paused after a 429, the client gets
    /// 429 instead of 503.
    func makePendingResponse(_ connection: Connection, _ source: PullSource) -> PendingResponse {
        PendingResponse(connection, deadlineMilliseconds: policy.answerDeadlineMilliseconds) { [self] connection in
            connection.respond(puller.rateLimitRefusal(of: source) ?? noAnswerInTime(source))
        }
    }

    /// The error when the deadline passes: the same as for an upstream that cannot be reached, so that a client cannot
    /// tell a silent port from a closed one.
    private func noAnswerInTime(_ source: PullSource) -> RegistryError {
        let limit = ConnectPhases.duration(policy.answerDeadlineMilliseconds)
        let error = UpstreamAnswer.unreachable(
            source.host, "has not answered within \(limit); the request continues")
        var metadata: Logger.Metadata = [
            "host": "\(source.host)", "repository": "\(source.repository)", "reason": "\(error.operatorMessage)",
        ]
        if !source.requestID.isEmpty { metadata["id"] = "\(source.requestID)" }
        logger.error("a client got no answer in time", metadata: metadata)
        return error
    }
}
