// The translation of upstream answers and failures into errors for the client, so that a client can distinguish missing
// content from content that is unavailable now. Every case is in this file.

package import OCI

/// Why an exchange ended without a complete answer. The texts are for logs and errors and hold no secrets.
package enum UpstreamFailure: Error, Sendable, Equatable {
    /// The request could not be sent: no address, no connection, or an untrusted certificate.
    case unreachable(String)
    /// Nothing arrived for `pullTimeout`.
    case timedOut(String)
    /// The answer was cut off, or is not HTTP.
    case broken(String)
    /// Refused by this server: by a policy, for lack of a token, or in a pause after a 429.
    case refused(RegistryError)
    /// It leads to an address that only the configuration may name (`AddressGuard`).
    case addressRefused(String)
    /// The token service answered 429; its `Retry-After` in seconds, if it sent one.
    case rateLimited(retryAfterSeconds: Int?)

    /// The error for the client. A client may have chosen the host, so it does not get the reason: that would tell
    /// which hosts and ports of an internal network are open.
    package func registryError(host: RegistryHost) -> RegistryError {
        switch self {
        case .unreachable(let reason): UpstreamAnswer.unreachable(host, "cannot be reached: \(reason)")
        case .timedOut(let reason): UpstreamAnswer.unreachable(host, "does not answer: \(reason)")
        case .broken(let reason): UpstreamAnswer.unreachable(host, "broke off its answer: \(reason)")
        case .refused(let error): error
        case .addressRefused(let reason): UpstreamAnswer.addressRefused(host, reason)
        case .rateLimited(let seconds): UpstreamAnswer.tooManyRequests(host, retryAfterSeconds: seconds)
        }
    }

    /// For logs.
    package var reason: String {
        switch self {
        case .unreachable(let reason), .timedOut(let reason), .broken(let reason), .addressRefused(let reason): reason
        case .refused(let error): error.operatorMessage
        case .rateLimited: "its token service answered 429"
        }
    }
}

extension UpstreamFailure {
    package init(_ failure: TransferFailure) {
        switch failure.kind {
        case .unreachable, .connectLimit, .proxyRefused, .untrusted: self = .unreachable(failure.reason)
        case .timedOut: self = .timedOut(failure.reason)
        case .broken: self = .broken(failure.reason)
        case .refusedAddress: self = .addressRefused(failure.reason)
        }
    }

    package init(_ refusal: TargetRefusal, host: RegistryHost, of part: String = "") {
        switch refusal {
        case .rule(let reason): self = .refused(UpstreamAnswer.refused(host, part + reason))
        case .address(let reason): self = .addressRefused(part + reason)
        }
    }
}

/// Makes the errors for the answers of upstreams.
package enum UpstreamAnswer {
    /// Statuses that say what is wrong with the parameters of a tag list. The client set them, so it gets the status.
    /// Any other unexpected 4xx is about this server's own request, or is nothing that a registry may answer.
    private static let statusesOfListParameters: Set<Int> = [400, 405, 414, 416, 422]

    /// The error for an answer; nil for a 200 or 206.
    package static func error(
        for head: UpstreamHead, kind: UpstreamRequest.Kind, host: RegistryHost
    ) -> RegistryError? {
        var error = translation(of: head, kind, host)
        if refusedSize(in: head, host: host) == nil { error?.upstreamStatus = head.status }
        error?.isTextAnswer = head.contentType?.asciiLowercased.hasPrefix("text/") ?? false
        return error
    }

    private static func translation(
        of head: UpstreamHead, _ kind: UpstreamRequest.Kind, _ host: RegistryHost
    ) -> RegistryError? {
        switch head.status {
        case 200, 206: refusedSize(in: head, host: host)
        case 401, 403, 451: denied(host, status: head.status, hint: head.deniedHint)
        case 404, 410: unknown(kind, host)
        case 429: tooManyRequests(host, retryAfterSeconds: head.retryAfterSeconds)
        case 408, 500...599:
            .unavailable("\(host) answered \(head.status)", retryAfterSeconds: head.retryAfterSeconds)
        case _ where kind == .tags && statusesOfListParameters.contains(head.status):
            RegistryError(
                status: head.status, code: .unsupported,
                message: "\(host) answered \(head.status) to the request for tags")
        default: .badGateway("\(host) answered \(head.status), an unexpected status")
        }
    }

    /// The error for a head that states an impossible size; nil for any other. A retry would not help.
    package static func refusedSize(in head: UpstreamHead, host: RegistryHost) -> RegistryError? {
        head.refusedSize.map { stated in
            RegistryError(
                status: 502, code: .sizeInvalid,
                message: "\(host) answered with \(stated): sizes above 16 TiB are not accepted")
        }
    }

    /// - Parameter upstreamStatus: the registry's own answer; nil when it has not been asked.
    package static func denied(
        _ host: RegistryHost, status: Int, hint: String?, upstreamStatus: Int? = nil
    ) -> RegistryError {
        let detail = hint ?? "it answered \(status)"
        var error = RegistryError(status: 403, code: .denied, message: "\(host) denied access", detail: detail)
        error.upstreamStatus = upstreamStatus
        return error
    }

    /// - Parameter retryAfterSeconds: the value from `RateLimitMemory`.
    package static func tooManyRequests(_ host: RegistryHost, retryAfterSeconds: Int?) -> RegistryError {
        RegistryError(
            status: 429, code: .tooManyRequests, message: "\(host) asks for fewer requests",
            retryAfterSeconds: retryAfterSeconds)
    }

    /// The error when the registry refused the configured credentials.
    package static func credentialsRefused(by host: RegistryHost) -> RegistryError {
        denied(host, status: 401, hint: credentialsHint)
    }

    /// The error when the registry's token service refused them.
    package static func credentialsRefused(byTokenServiceOf host: RegistryHost) -> RegistryError {
        denied(host, status: 401, hint: "its token service refused the credentials")
    }

    /// The error when the upstream denies access and its credentials could not be had.
    static func noCredentials(_ host: RegistryHost, _ failure: CredentialFailure) -> RegistryError {
        .unavailable("\(host): its credentials cannot be had: \(failure.reason)")
    }

    static let credentialsHint = "it refused the credentials"

    /// The one error for an upstream that gives no answer, whatever the cause.
    /// - Parameter reason: follows the host's name; for the log.
    package static func unreachable(_ host: RegistryHost, _ reason: String) -> RegistryError {
        var error = RegistryError.unavailable("\(host) cannot be reached; the server's log says why")
        error.internalMessage = "\(host) \(reason)"
        return error
    }

    /// The one error for an upstream that leads to an address that may not be used, on whatever way.
    /// - Parameter reason: for the log.
    package static func addressRefused(_ host: RegistryHost, _ reason: String) -> RegistryError {
        var error = RegistryError(
            status: 403, code: .denied,
            message: "\(host) leads to an address that is not allowed; the server's log says which")
        error.internalMessage = "\(host): \(reason); only hosts that the configuration names may have such an address"
        return error
    }

    /// The error when the configuration or a safety rule forbids the request.
    package static func refused(_ host: RegistryHost, _ reason: String) -> RegistryError {
        RegistryError(status: 403, code: .denied, message: "\(host): \(reason)")
    }

    private static func unknown(_ kind: UpstreamRequest.Kind, _ host: RegistryHost) -> RegistryError {
        let (code, what): (RegistryError.Code, String) =
            switch kind {
            case .manifest: (.manifestUnknown, "manifest")
            case .blob: (.blobUnknown, "blob")
            case .tags, .referrers: (.nameUnknown, "repository")
            case .ping: (.nameUnknown, "registry")
            }
        return RegistryError(status: 404, code: code, message: "\(what) unknown", detail: "\(host) does not have it")
    }
}

extension RegistryError {
    /// Statuses that registries, and the storage that they redirect to, give to a HEAD although a GET is answered.
    private static let statusesOfHeads: Set<Int> = [400, 403, 404, 405, 501]

    /// Whether a HEAD's failure says nothing about a GET of the same content.
    package var mayConcernHeadOnly: Bool { upstreamStatus.map { RegistryError.statusesOfHeads.contains($0) } ?? false }

    /// The error when the upstream, or its token service, violates the protocol.
    package static func badGateway(_ reason: String) -> RegistryError {
        RegistryError(status: 502, code: .unknown, message: reason)
    }
}
