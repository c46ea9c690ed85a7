// Makes the credentials of endpoints, by what the configuration says of them.

internal import Configuration
package import Logging
internal import OCI

/// Makes each endpoint's `CredentialSource`.
package final class CredentialSources {
    private let loop: EventLoop
    private let offload: Offload
    private let logger: Logger

    package init(loop: EventLoop, offload: Offload, logger: Logger) {
        self.loop = loop
        self.offload = offload
        self.logger = logger
    }

    /// - Parameter host: whose credentials they are: the registry, or the endpoint that has its own.
    func source(for auth: RegistryAuth?, host: RegistryHost) -> CredentialSource {
        CredentialSource(fixed: auth)
    }
}
