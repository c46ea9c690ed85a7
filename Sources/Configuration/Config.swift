// Everything that can be set, with its default beside it. Built from the configuration file by ConfigDecoder and then
// changed by the command line; what is in here has been validated and can be used as it stands.

package import OCI

/// A validated configuration.
package struct Config: Sendable, Equatable {
    /// Where the cache lives. A relative path is relative to the working directory.
    package var imagePath = "/var/lib/ociregistry"
    package var logLevel: LogLevel = .error
    package var logFormat: LogFormat = .text
    /// Nil: standard error.
    package var logFile: String?
    /// 0: any free port, printed in the start-up banner.
    package var port: UInt16 = 8080
    /// An IPv4 or IPv6 address, without brackets.
    package var host = "0.0.0.0"
    /// Of the metrics listener; nil: none. 0: any free port.
    package var metricsPort: UInt16?
    /// An address as `host`; nil: the same.
    package var metricsHost: String?
    /// Port of the health listener, on the same address; nil: none, 0: any free port.
    package var healthPort: UInt16?
    /// How long an upstream may make no progress.
    package var pullTimeoutMilliseconds = 60_000
    /// Ask the upstream whether a cached `latest` is still the newest.
    package var alwaysPullLatest = false
    /// Nothing leaves: a miss is 404.
    package var airGapped = false
    /// Serve the built-in `docker.io/library/hello-world:latest`.
    package var helloWorld = false
    /// The upstream of requests that name none.
    package var defaultNamespace: RegistryHost?
    /// Fetch an image's config and layers as soon as its manifest is asked for.
    package var prefetchLayers = true
    /// FILES that `serve` loads when it starts.
    package var preloadImages: String?
    /// FILES that `load` loads.
    package var imageFile: String?
    /// Which platform's images those are; nil: this machine's.
    package var os: String?
    /// With a variant where one is meant: `arm/v7`.
    package var arch: String?
    /// All platforms', whatever `os` and `arch` say.
    package var allPlatforms = false
    /// Where administration is open on a port of its own; nil: nowhere.
    package var adminListen: ListenPoint?
    /// What it asks for there; nil: nothing, which only a loopback address may have.
    package var adminToken: Secret?
    /// Whether the port that serves images answers administration too, to requests with `adminToken`.
    package var adminOnServingPort = false
    /// How large the cache may be.
    package var budget = Budget()
    /// Images that never leave by themselves: regular expressions, separated by commas, over their names.
    package var pinned: String?
    /// What has been served this recently is not removed.
    package var leaseSeconds: Int64 = 600
    package var pruneSchedule = PruneSchedule()
    /// Hashing the cache again in the background; nil: it is not done.
    package var scrub: ScrubSchedule?
    /// No host twice.
    package var registries: [RegistryConfig] = []

    package init() {}

    /// Refuses two listeners on one port. Looked at when all is known: file and command line may each name one.
    package func checkPorts() throws(Refusal) {
        var taken: [UInt16: String] = [:]
        let listeners: [(String, UInt16?)] = [
            ("port", port), ("metrics", metricsPort), ("health", healthPort), ("adminListen", adminListen?.port),
        ]
        for case (let name, let port?) in listeners where port != 0 {
            if let other = taken[port] { throw Refusal("\(name): \(port) is the port of \(other) already") }
            taken[port] = name
        }
    }

    /// What `os`, `arch` and `allPlatforms` come to.
    package var platforms: PlatformChoice {
        if allPlatforms { return .all }
        let words = (arch ?? Platform.machine.architecture).split(separator: "/", maxSplits: 1).map(String.init)
        return .only(
            Platform(
                os: os ?? Platform.machine.os, architecture: words[0], variant: words.count > 1 ? words[1] : nil))
    }
}

/// Where to listen.
package struct ListenPoint: Sendable, Equatable {
    /// An address as `Config.host`.
    package let host: String
    /// 0: any free one.
    package let port: UInt16

    package init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }
}
