// Error responses: to a valid request, to an invalid one, and to a connection beyond the cap.

package import OCI

extension Connection {
    /// Answers with the specification's JSON error.
    package func respond(_ error: RegistryError, extra: [(String, String)] = [], verdict: Verdict = .error) {
        let body = error.json
        let retry = error.retryAfterSeconds.map { [("Retry-After", "\($0)")] } ?? []
        let fields = ResponseFields.json(length: body.count, extra: extra + retry)
        respond(status: error.status, fields: fields, body: body, verdict: verdict)
    }

    /// Answers an invalid request head, and closes.
    func refuse(_ failure: ParseFailure) {
        server.metrics?.requests.malformed &+= 1
        refuse(
            RegistryError(status: failure.status, code: .unsupported, message: "\(failure.reason)"))
    }

    /// Answers an error outside any request, then closes with a FIN so that the response arrives.
    func refuse(_ error: RegistryError) {
        identity = RequestID()
        let body = error.json
        let prefix = Array(server.prefix(status: error.status, close: true))
        logRefusal(error)
        _ = queue(prefix + requestIDField + ResponseFields.json(length: body.count) + body)
        finishOutput()
    }
}
