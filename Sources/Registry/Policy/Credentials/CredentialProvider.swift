// Where an upstream's credentials come from when they are not in the configuration file: a file, a helper program, AWS.

internal import OCI

/// Credentials, and how long they may be used.
package struct ProvidedCredentials: Sendable, Equatable {
    package let credentials: UpstreamCredentials
    /// Milliseconds from now until they expire; nil when that is not known.
    package let lifeMilliseconds: UInt64?

    package init(_ credentials: UpstreamCredentials, lifeMilliseconds: UInt64? = nil) {
        self.credentials = credentials
        self.lifeMilliseconds = lifeMilliseconds
    }
}

/// Why no credentials could be had. The text is for the log and for clients, and holds no secret.
package struct CredentialFailure: Error, Sendable, Equatable, CustomStringConvertible {
    package let reason: String

    package init(_ reason: String) { self.reason = reason }

    package var description: String { reason }
}

/// A source of one upstream's credentials. Used on the loop only; when to ask again is decided by its user.
package protocol CredentialProvider: AnyObject {
    /// Whether it may be asked with every refused request, as a file may be; a program or a service may not.
    var isCheap: Bool { get }

    /// Gets the credentials as they are now, without a cache of its own for them.
    /// - Parameter then: called once, on the loop, and not before this returns. Nil: the source has none for this
    ///   upstream, which is then asked anonymously.
    func provide(then: @escaping (Result<ProvidedCredentials?, CredentialFailure>) -> Void)
}

extension CredentialProvider {
    package var isCheap: Bool { false }
}
