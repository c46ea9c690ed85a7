// `/cmd/…` over HTTP: access control, the command, and the response as text or JSON. Requests arrive on the Unix socket
// in the store's directory, on `adminListen` and on the serving port; `AdminAccess` has the rules of each.

package import Configuration
package import Logging
internal import OCI

/// Answers admin requests.
package final class AdminEndpoint {
    private let queries: AdminQueries
    private let jobs: AdminJobs
    private let logger: Logger
    /// Stops the server; its argument is the logged cause.
    private let stop: (String) -> Void
    private let reload: Reload

    /// Reloads the configuration; its argument gets the outcome of a reload that began after the call.
    package typealias Reload = (_ then: @escaping (Result<ConfigChanges, ConfigError>) -> Void) -> Void

    package init(
        queries: AdminQueries, jobs: AdminJobs, logger: Logger, stop: @escaping (String) -> Void,
        reload: @escaping Reload
    ) {
        self.queries = queries
        self.jobs = jobs
        self.logger = logger
        self.stop = stop
        self.reload = reload
    }

    /// Answers one request, now or later.
    package func handle(
        _ connection: Connection, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer, _ access: AdminAccess
    ) {
        let asJSON = AdminEndpoint.wantsJSON(Headers(head, in: bytes))
        let answer = AdminAnswer(connection, asJSON: asJSON)
        if let denial = access.denial(AdminEndpoint.origin(connection, head, bytes)) {
            logger.warning(
                "administration refused",
                metadata: [
                    "client": "\(connection.peerName)", "id": "\(connection.requestID)", "reason": "\(denial.reason)",
                ])
            return answer.refuse(denial)
        }
        do throws(RegistryError) {
            let query = QueryItems(head.query.in(bytes))
            let command = try AdminCommand(path: head.path.in(bytes), query: query)
            let methods = command.methods(onSocket: access.isSocket)
            guard methods.contains(head.method) else { return answer.refuse(allowing: methods) }
            guard !command.needsSocket || access.isSocket else { throw AdminEndpoint.forTheSocket }
            if command.isMutating { log(head, bytes, connection) }
            if command.isFollowed { return answer.follow(try jobs.start(command)) }
            carryOut(command, answer)
        } catch {
            answer.refuse(error)
        }
    }

    private static let forTheSocket = RegistryError(
        status: 403, code: .denied, message: "this is for the socket in the cache's directory alone")

    private func carryOut(_ command: AdminCommand, _ answer: AdminAnswer) {
        if command == .reload { return reload { answer.give($0) } }
        guard command == .stop else {
            return queries.answer(command, asJSON: answer.asJSON) { result in
                switch result {
                case .success(let text): answer.give(text)
                case .failure(let error): answer.refuse(error)
                }
            }
        }
        answer.give(Array((answer.asJSON ? "{\"stopping\":true}\n" : "stopping\n").utf8))
        // Deferred: after this iteration the response has been handed over, and no part of the connection is in use.
        answer.loop.deferred.enqueue { [stop] in stop("administration") }
    }

    /// Logs a request with its target as sent; the log escapes invisible characters.
    private func log(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer, _ connection: Connection) {
        let method = String(decoding: head.methodName.in(bytes), as: UTF8.self)
        logger.warning(
            "administration: \(method) \(String(decoding: head.target.in(bytes), as: UTF8.self))",
            metadata: ["client": "\(connection.peerName)", "id": "\(connection.requestID)"])
    }

    private static func origin(
        _ connection: Connection, _ head: RequestHead, _ bytes: UnsafeRawBufferPointer
    ) -> AdminAccess.Origin {
        var fields: [(name: String, value: String)] = []
        Headers(head, in: bytes).forEach { name, value in
            fields.append(
                (String(decoding: name, as: UTF8.self).asciiLowercased, String(decoding: value, as: UTF8.self)))
        }
        let name = connection.peerName
        let address = name.utf8.lastIndex(of: 0x3A).flatMap { NetworkAddress(literal: String(name[..<$0])) }
        return AdminAccess.Origin(
            peer: address, host: String(decoding: head.host.in(bytes), as: UTF8.self), fields: fields)
    }

    /// Whether the client accepts JSON by name; `*/*`, which curl sends, does not count.
    private static func wantsJSON(_ headers: Headers) -> Bool {
        headers.values(named: "accept").contains { line in
            line.split(separator: ",").contains { item in
                let essence = item.split(separator: ";", maxSplits: 1).first ?? ""
                return String(essence.filter { $0 != " " && $0 != "\t" }).asciiLowercased == "application/json"
            }
        }
    }
}

/// An admin client's pending response.
private struct AdminAnswer {
    private let connection: Connection
    let asJSON: Bool

    init(_ connection: Connection, asJSON: Bool) {
        self.connection = connection
        self.asJSON = asJSON
    }

    var loop: EventLoop { connection.loop }

    func give(_ text: [UInt8]) { send(200, text) }

    /// The outcome of a reload. 422 (RFC 9110 §15.5.21): the request was understood, and the file has problems.
    func give(_ outcome: Result<ConfigChanges, ConfigError>) {
        let text = asJSON ? ReloadText.json(outcome) : ReloadText.lines(outcome)
        send((try? outcome.get()) == nil ? 422 : 200, Array(text.utf8))
    }

    /// Answers with a stream of JSON lines.
    func follow(_ feed: LineFeed) {
        connection.respond(
            status: 200, fields: ResponseFields.chunked(contentType: "application/x-ndjson"), content: .lines(feed),
            verdict: .none)
    }

    func refuse(_ error: RegistryError) {
        if asJSON { return connection.respond(error) }
        send(error.status, Array("\(error.message)\n".utf8))
    }

    func refuse(_ denial: AdminAccess.Denial) {
        let extra = denial.status == 401 ? [("WWW-Authenticate", "Bearer")] : []
        if asJSON {
            return connection.respond(
                RegistryError(status: denial.status, code: .denied, message: denial.reason), extra: extra)
        }
        send(denial.status, Array("\(denial.reason)\n".utf8), extra)
    }

    func refuse(allowing methods: [RequestHead.Method]) {
        let names = methods.map { "\($0)".uppercased() }.joined(separator: ", ")
        let (reason, extra) = ("this takes \(names)", [("Allow", names)])
        if asJSON {
            return connection.respond(RegistryError(status: 405, code: .unsupported, message: reason), extra: extra)
        }
        send(405, Array("\(reason)\n".utf8), extra)
    }

    /// Sends the body in pieces, like a blob: the list of a large cache has megabytes.
    private func send(_ status: Int, _ text: [UInt8], _ extra: [(String, String)] = []) {
        let type = asJSON ? "application/json" : "text/plain; charset=utf-8"
        let fields = ResponseFields.plain(
            contentType: type, length: text.count, extra: extra + [("Cache-Control", "no-store")])
        connection.respond(
            status: status, ReadyAnswer(fields: fields, body: text), verdict: status == 200 ? .none : .error)
    }
}
