// What a configuration means for the parts of a server: made from it at the start and by every reload, by the same
// functions. Making the settings can fail, and applying them cannot: a reload is applied as a whole or not at all.

import BuiltinImage
import Configuration
import Logging
import Registry

/// The settings of a server's parts.
struct ServerSettings: Sendable {
    let config: Config
    let limits: StoreLimits
    /// Access to administration on the serving port, and on `adminListen`.
    let servingAccess: AdminAccess
    let listenerAccess: AdminAccess?

    /// - Throws: when the pattern of pinned images is invalid, or a token is missing.
    init(_ config: Config) throws {
        self.config = config
        limits = try StoreLimits(config)
        servingAccess = try .servingPort(isOpen: config.adminOnServingPort, token: config.adminToken)
        listenerAccess = try config.adminListen.map { try .listener(host: $0.host, token: config.adminToken) }
    }

    var policy: API.Policy {
        API.Policy(
            airGapped: config.airGapped, defaultHost: config.defaultNamespace, names: config.namePolicy,
            tags: config.tags)
    }

    var noProgressMilliseconds: UInt64 { UInt64(clamping: config.pullTimeoutMilliseconds) }
    var aheadLimits: AheadLimits? { config.rangesAhead ? AheadLimits() : nil }
    var pruneSchedule: PruneSchedule? { config.pruneSchedule.isEnabled ? config.pruneSchedule : nil }
    var builtin: Builtin? { config.helloWorld ? Builtin(HelloWorldImage()) : nil }
}

extension ServerSettings {
    /// Whether the images of `preloadImages` are others than those of `former`.
    func preloadsOthers(than former: ServerSettings) -> Bool {
        config.preloadImages != former.config.preloadImages || config.platforms != former.config.platforms
    }
}

extension StoreLimits {
    /// The configured limits of the cache, for the server and for the commands that open the store themselves.
    /// - Throws: when the pattern of pinned images is invalid.
    init(_ config: Config) throws {
        self.init()
        budget = config.budget
        leaseSeconds = config.leaseSeconds
        guard let text = config.pinned else { return }
        let pattern = try Pattern(text)
        isPinned = { try pattern.matches($0.name) }
    }
}

/// A configuration that a reload has read and checked, with all that could fail done.
struct PreparedReload: Sendable {
    let settings: ServerSettings
    let changes: ConfigChanges
    /// The log's destination, opened; nil: it stays.
    let log: LogDestination?

    /// Blocks: reads the file that `check` is about, and opens the log.
    /// - Parameter running: the configuration in use.
    /// - Throws: every problem.
    init(_ check: ConfigCheck, running: Config) throws(ConfigError) {
        guard check.problems.isEmpty else { throw ConfigError(problems: check.problems) }
        let config = check.config.keepingRestartSettings(of: running)
        // Listeners stay as they are until a restart, and a token that they need must stay too.
        let problems = config.listenerProblems.map { key, refusal in
            check.problem(key, "\(refusal.reason); the listener in use stays until a restart")
        }
        guard problems.isEmpty else { throw ConfigError(problems: problems) }
        do { settings = try ServerSettings(config) } catch {
            // Each rule has been checked; the key is in the reason.
            throw ConfigError(problems: [check.problem("", "\(error)")])
        }
        changes = ConfigChanges(from: running, to: check.config)
        guard config.logFile != running.logFile else {
            log = nil
            return
        }
        do throws(LogFileError) { log = try LogDestination(path: config.logFile) } catch {
            throw ConfigError(problems: [check.problem("logFile", "\(error)")])
        }
    }
}

extension UpstreamClient {
    /// A client with the configured registries and time limit.
    convenience init(_ config: Config, loop: EventLoop, offload: Offload, logger: Logger, metrics: Metrics) {
        self.init(
            loop: loop, registries: config.registries,
            noProgressMilliseconds: UInt64(clamping: config.pullTimeoutMilliseconds),
            userAgent: "ociregistry/\(Version.text)", logger: logger, metrics: metrics,
            settings: UpstreamSettings(config), credentials: CredentialSettings(config, offload: offload))
    }
}

extension CredentialSettings {
    init(_ config: Config, offload: Offload) {
        self.init(offload: offload, environment: Environment.value)
        dockerConfig = config.dockerConfig
        secretVariables = config.secretVariables
    }
}
