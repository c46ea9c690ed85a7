// Every setting, with its default. ConfigDecoder builds it from the configuration file, and command-line options
// override the file. All values have been validated.

package import OCI

/// A validated configuration.
package struct Config: Sendable, Equatable {
    /// Directory of the cache. A relative path is relative to the working directory.
    package var imagePath = "/var/lib/ociregistry"
    package var logLevel: LogLevel = .error
    package var logFormat: LogFormat = .text
    /// Nil: standard error.
    package var logFile: String?
    /// 0: any free port, printed in the start-up banner.
    package var port: UInt16 = 8080
    /// An IPv4 or IPv6 address, without brackets.
    package var host = "0.0.0.0"
    /// Port of the metrics listener; nil: no listener, 0: any free port.
    package var metricsPort: UInt16?
    /// Address of the metrics listener, in the form of `host`; nil: the same address.
    package var metricsHost: String?
    /// Port of the health listener, on the same address; nil: no listener, 0: any free port.
    package var healthPort: UInt16?
    /// Longest time an upstream transfer may make no progress.
    package var pullTimeoutMilliseconds = 60_000
    /// Whether to ask the upstream at each request if a cached `latest` is still current.
    package var alwaysPullLatest = false
    /// The ttl of all tags; nil: the default's.
    package var tagTTL: TagSpan?
    /// The policies of tags by name, of which the first that matches counts.
    package var tagPolicies: [TagPolicies.Entry] = []
    /// Whether to make no upstream request: a miss is a 404.
    package var airGapped = false
    /// Whether to serve the built-in `docker.io/library/hello-world:latest`.
    package var helloWorld = false
    /// The upstream of requests that name no host.
    package var defaultNamespace: RegistryHost?
    /// Whether to prefetch an image's config and layers when its manifest is requested.
    package var prefetchLayers = PrefetchLayers.layer
    /// Whether to prefetch an image's signatures, attestations and SBOMs when its manifest is pulled.
    package var prefetchReferrers = false
    /// Whether distant ranges of a blob that is being pulled are requested at once.
    package var rangesAhead = true
    /// Whether clients may ask for the state of the store and the upstreams, and pull canaries (`doctor`).
    package var diagnostics = true
    /// Whether the server reads its configuration again when the file has changed.
    package var reloadOnChange = false
    /// FILES that `serve` loads when it starts.
    package var preloadImages: String?
    /// FILES that `load` loads.
    package var imageFile: String?
    /// Operating system of the images to load; nil: this machine's.
    package var os: String?
    /// Architecture of the images to load, with an optional variant: `arm/v7`; nil: this machine's.
    package var arch: String?
    /// Whether to load all platforms, regardless of `os` and `arch`.
    package var allPlatforms = false
    /// Address of the admin port; nil: no such listener.
    package var adminListen: ListenPoint?
    /// The token that the admin port requires; nil: none, which is allowed only on a loopback address.
    package var adminToken: Secret?
    /// Whether the serving port answers admin requests too, if they carry `adminToken`.
    package var adminOnServingPort = false
    /// Limits of the cache's size.
    package var budget = Budget()
    /// Images that are never removed automatically: comma-separated regular expressions that match their names.
    package var pinned: String?
    /// An image is kept for this long after it was served.
    package var leaseSeconds: Int64 = 600
    package var pruneSchedule = PruneSchedule()
    /// Schedule for hashing the cache again in the background; nil: off.
    package var scrub: ScrubSchedule?
    /// For how long answers are remembered that something is missing or denied.
    package var negativeCache = NegativeCacheSettings()
    /// Proxy, time limits and number of connections of upstreams whose entries set none.
    package var connections = ConnectionSettings()
    /// Whether upstreams may lead to private networks.
    package var privateUpstreams = PrivateUpstreams.allow
    /// PEM certificates to trust, instead of the system's, at upstreams without `RegistryTLS.caFile`.
    package var caFile: String?
    /// What the environment says about upstreams; set by the commands that reach any.
    package var environment = UpstreamEnvironment()
    /// One entry per host or pattern at most.
    package var registries: [RegistryConfig] = []
    /// Names that may not be pulled: expressions that match anywhere in `host/repository`.
    package var deny: [NameExpression] = []
    /// The only names that may be pulled: expressions that match the whole of `host/repository`. Empty: no such rule.
    package var allow: [NameExpression] = []
    /// Whether only registries with an entry in `registries` may be asked.
    package var registriesOnly = false
    /// Docker's or podman's file of credentials, for upstreams without an `auth`.
    package var dockerConfig: String?
    /// Environment variables that hold secrets of this configuration; programs that the server starts do not get them.
    package var secretVariables: Set<String> = []

    package init() {}

    /// Refuses two listeners on one port. It runs last, since file and command line may each set a port.
    package func checkPorts() throws(Refusal) {
        if let first = portProblems.first { throw first.refusal }
    }

    /// The keys of listeners whose port an earlier one has. Each refusal begins with its key.
    package var portProblems: [(key: String, refusal: Refusal)] {
        var taken: [UInt16: String] = [:]
        var problems: [(key: String, refusal: Refusal)] = []
        let listeners: [(String, UInt16?)] = [
            ("port", port), ("metrics", metricsPort), ("health", healthPort), ("adminListen", adminListen?.port),
        ]
        for case (let name, let port?) in listeners where port != 0 {
            if let other = taken[port] {
                problems.append((name, Refusal("\(name): \(port) is the port of \(other) already")))
            } else {
                taken[port] = name
            }
        }
        return problems
    }

    /// The platforms selected by `os`, `arch` and `allPlatforms`.
    package var platforms: PlatformChoice {
        if allPlatforms { return .all }
        let words = (arch ?? Platform.machine.architecture).split(separator: "/", maxSplits: 1).map(String.init)
        return .only(
            Platform(
                os: os ?? Platform.machine.os, architecture: words[0], variant: words.count > 1 ? words[1] : nil))
    }
}

/// An address and port to listen on.
package struct ListenPoint: Sendable, Equatable {
    /// An address in the form of `Config.host`.
    package let host: String
    /// 0: any free port.
    package let port: UInt16

    package init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }
}

/// When the config and layers of an image are fetched that no client has asked for yet.
package enum PrefetchLayers: String, CaseIterable, Sendable {
    /// When its manifest is requested.
    case manifest
    /// When one of its layers is requested: tools that only look at an image read its manifests and configs.
    case layer
    case never
}

/// Whether upstreams may lead to private networks where the configuration does not name the host.
package enum PrivateUpstreams: String, CaseIterable, Sendable {
    case allow, deny
}

/// The least severe level that is written. The names are the reference's.
package enum LogLevel: String, CaseIterable, Sendable {
    case debug, info, warn, error
}

/// The format of a log line.
package enum LogFormat: String, CaseIterable, Sendable {
    /// `2026-11-22T16:00:00.123Z INFO  message key=value`
    case text
    /// `{"time":"2026-11-22T16:00:00.123Z","level":"info","msg":"message","key":"value"}`
    case json
}
