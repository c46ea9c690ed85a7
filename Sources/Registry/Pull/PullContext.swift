// The shared dependencies of all pulls.

package import Configuration
package import Logging
internal import OCI

/// The settings of pulls that a reload changes. Shared by all copies of a context; used on the loop only.
package final class PullSettings {
    /// When an image's config and layers are prefetched.
    package var prefetchLayers: PrefetchLayers
    /// Whether the referrers of a pulled manifest are fetched too.
    package var prefetchReferrers: Bool
    /// Limits of requests ahead of a pull; nil: none are made (`rangesAhead`).
    package var aheadLimits: AheadLimits?
    /// How long negative answers are remembered; `Puller.upstreamsChanged` puts other times into use.
    package var negativeCache: NegativeCacheSettings

    package init(
        prefetchLayers: PrefetchLayers, prefetchReferrers: Bool = false, aheadLimits: AheadLimits? = AheadLimits(),
        negativeCache: NegativeCacheSettings = NegativeCacheSettings()
    ) {
        self.prefetchLayers = prefetchLayers
        self.prefetchReferrers = prefetchReferrers
        self.aheadLimits = aheadLimits
        self.negativeCache = negativeCache
    }
}

/// The parts of the server that pulls use, and their settings.
package struct PullContext {
    package let loop: EventLoop
    package let offload: Offload
    package let store: Store
    package let client: UpstreamClient
    package let logger: Logger
    package let metrics: Metrics
    package let settings: PullSettings
    /// The first pause before a broken transfer is resumed.
    package var firstBackOffMilliseconds = PullMachine.firstBackOffMilliseconds

    package init(
        loop: EventLoop, offload: Offload, store: Store, client: UpstreamClient, logger: Logger, metrics: Metrics,
        settings: PullSettings
    ) {
        self.loop = loop
        self.offload = offload
        self.store = store
        self.client = client
        self.logger = logger
        self.metrics = metrics
        self.settings = settings
    }
}

extension StoreError {
    /// The error for the client: this server's disk is full or failing, and another host may succeed.
    var registryError: RegistryError {
        .unavailable(isNoSpace ? "no room in the cache" : "the cache cannot be written")
    }
}
