// How a transfer can fail, in the few kinds that make a difference to what happens next.

/// How a transfer ended that did not end well.
package struct TransferFailure: Error, Sendable, Equatable {
    package enum Kind: Sendable {
        /// No connection: names, addresses, refused, connect timeout.
        case unreachable
        /// No connection within a limit of `ConnectLimits`, or no place for the name lookup.
        case connectLimit
        /// The connection was made but its peer is not to be trusted.
        case untrusted
        /// Its address is loopback or link-local and not configured.
        case localAddress
        case timedOut
        /// Broke off, or what came is not HTTP as we take it.
        case broken
    }

    package let kind: Kind
    /// For people; without URLs.
    package let reason: String
    /// Whether a single byte of the answer had come.
    package let hadAnswer: Bool

    package init(kind: Kind, reason: String, hadAnswer: Bool) {
        self.kind = kind
        self.reason = reason
        self.hadAnswer = hadAnswer
    }
}

extension TransferFailure {
    /// Whether asking again at once makes sense: no connection, or one that died before it said anything.
    package var isRetryable: Bool { kind == .unreachable || (kind == .broken && !hadAnswer) }
}
