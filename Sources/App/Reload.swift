// SIGHUP: the configuration file is read again, and what it says of upstreams is used from then on.

import Configuration
import Logging
import Registry

extension Running {
    /// Reads the configuration again. A file with a problem leaves the running configuration in place.
    func reload() {
        guard !isReloading else { return needsReload = true }
        isReloading = true
        offload.run(readConfig) { [unowned self] (result: Result<Config, any Error>) in
            isReloading = false
            guard !isStopping else { return }
            switch result {
            case .success(let fresh): apply(fresh)
            case .failure(let error):
                let problems = (error as? ConfigError)?.problems.map(\.description) ?? ["\(error)"]
                for problem in problems {
                    logger.error("the configuration was not reloaded", metadata: ["reason": "\(problem)"])
                }
            }
            if needsReload {
                needsReload = false
                reload()
            }
        }
    }

    private func apply(_ fresh: Config) {
        var kept = config
        kept.takeUpstreams(of: fresh)
        config = kept
        client.reload(
            registries: config.registries, settings: UpstreamSettings(config),
            noProgressMilliseconds: UInt64(clamping: config.pullTimeoutMilliseconds),
            credentials: CredentialSettings(config, offload: offload))
        puller.upstreamsChanged()
        api.replaceNamePolicy(config.namePolicy)
        logger.warning("the configuration was reloaded", metadata: ["registries": "\(config.registries.count)"])
        if config != fresh {
            logger.warning("settings other than those of upstreams have changed; they need a restart")
        }
    }
}

extension Config {
    /// Takes what another configuration says of upstreams.
    fileprivate mutating func takeUpstreams(of other: Config) {
        registries = other.registries
        (allow, deny, registriesOnly) = (other.allow, other.deny, other.registriesOnly)
        dockerConfig = other.dockerConfig
        secretVariables = other.secretVariables
        connections = other.connections
        caFile = other.caFile
        privateUpstreams = other.privateUpstreams
        environment = other.environment
        pullTimeoutMilliseconds = other.pullTimeoutMilliseconds
    }
}
