// The kinds of failure of a transfer, as far as they lead to different actions.

/// Why a transfer failed.
package struct TransferFailure: Error, Sendable, Equatable {
    /// The kinds of failure.
    package enum Kind: Sendable {
        /// No connection: unknown name, no address, connection refused or connect timeout.
        case unreachable
        /// No connection within a limit of `ConnectLimits`, or no slot for the name lookup.
        case connectLimit
        /// The proxy refused the request or its own credentials; the upstream was not reached.
        case proxyRefused
        /// The connection was made, but its peer is not trusted.
        case untrusted
        /// No address of its host may be used (`AddressGuard`).
        case refusedAddress
        case timedOut
        /// The connection broke, or the response is not acceptable HTTP.
        case broken
    }

    package let kind: Kind
    /// Text for logs and error messages, without URLs.
    package let reason: String
    /// Whether any byte of the answer arrived.
    package let hadAnswer: Bool

    package init(kind: Kind, reason: String, hadAnswer: Bool) {
        self.kind = kind
        self.reason = reason
        self.hadAnswer = hadAnswer
    }
}

extension TransferFailure {
    /// Whether an immediate retry makes sense: no connection was made, or it broke before the first byte of the answer.
    package var isRetryable: Bool { kind == .unreachable || (kind == .broken && !hadAnswer) }
}
