// Which settings differ between two configurations, and which of them a running server cannot change.

/// The keys whose values a reload has changed, in the order of the documentation.
package struct ConfigChanges: Sendable, Equatable {
    /// Those that the server uses from now on.
    package let used: [String]
    /// Those that differ from what the running server uses, and that it cannot change.
    package let needRestart: [String]

    /// - Parameters:
    ///   - running: what the server uses.
    ///   - file: what the configuration says now.
    package init(from running: Config, to file: Config) {
        let changed = ConfigSetting.all.filter { !$0.isEqual(running, file) }
        used = changed.filter { !$0.needsRestart }.map(\.key)
        needRestart = changed.filter(\.needsRestart).map(\.key)
    }
}

extension Config {
    /// This configuration, with the values that `running` has for the settings that need a restart.
    package func keepingRestartSettings(of running: Config) -> Config {
        var kept = self
        for setting in ConfigSetting.all where setting.needsRestart { setting.copy(running, &kept) }
        return kept
    }
}

/// A top-level key of the file, and its values in a configuration. A test compares the table with ConfigDecoder's.
package struct ConfigSetting {
    package let key: String
    /// Another key for the same values.
    package var alias: String?
    package let needsRestart: Bool
    let isEqual: (Config, Config) -> Bool
    let copy: (Config, inout Config) -> Void

    private init<Value: Equatable>(
        _ key: String, alias: String? = nil, needsRestart: Bool = false, _ path: WritableKeyPath<Config, Value>
    ) {
        self.key = key
        self.alias = alias
        self.needsRestart = needsRestart
        isEqual = { $0[keyPath: path] == $1[keyPath: path] }
        copy = { $1[keyPath: path] = $0[keyPath: path] }
    }

    /// Every setting. Listeners, and the directory that the store has locked, stay as they are until a restart.
    package static var all: [ConfigSetting] { process + requests + cache + upstreams }

    private static var process: [ConfigSetting] {
        [
            .init("imagePath", needsRestart: true, \.imagePath),
            .init("logLevel", \.logLevel),
            .init("logFormat", \.logFormat),
            .init("logFile", \.logFile),
            .init("port", needsRestart: true, \.port),
            .init("host", needsRestart: true, \.host),
            .init("metrics", needsRestart: true, \.metricsPort),
            .init("metricsHost", needsRestart: true, \.metricsHost),
            .init("health", needsRestart: true, \.healthPort),
            .init("adminListen", needsRestart: true, \.adminListen),
            .init("adminOnServingPort", \.adminOnServingPort),
            .init("adminToken", alias: "adminTokenFromEnv", \.adminToken),
        ]
    }

    private static var requests: [ConfigSetting] {
        [
            .init("pullTimeout", \.pullTimeoutMilliseconds),
            .init("alwaysPullLatest", \.alwaysPullLatest),
            .init("tagTTL", \.tagTTL),
            .init("tagPolicies", \.tagPolicies),
            .init("airGapped", \.airGapped),
            .init("helloWorld", \.helloWorld),
            .init("defaultNs", \.defaultNamespace),
            .init("prefetchLayers", \.prefetchLayers),
            .init("prefetchReferrers", \.prefetchReferrers),
            .init("rangesAhead", \.rangesAhead),
            .init("diagnostics", \.diagnostics),
            .init("reloadOnChange", \.reloadOnChange),
            .init("preloadImages", \.preloadImages),
            .init("imageFile", \.imageFile),
            .init("os", \.os),
            .init("arch", \.arch),
            .init("allPlatforms", \.allPlatforms),
        ]
    }

    private static var cache: [ConfigSetting] {
        [
            .init("maxBytes", \.budget.maxBytes),
            .init("minFreeBytes", \.budget.minFreeBytes),
            .init("highWatermark", \.budget.highPercent),
            .init("lowWatermark", \.budget.lowPercent),
            .init("pinned", \.pinned),
            .init("leaseDuration", \.leaseSeconds),
            .init("pruneConfig", \.pruneSchedule),
            .init("scrub", \.scrub),
        ]
    }

    private static var upstreams: [ConfigSetting] {
        [
            .init("deny", \.deny),
            .init("allow", \.allow),
            .init("registriesOnly", \.registriesOnly),
            .init("dockerConfig", \.dockerConfig),
            .init("privateUpstreams", \.privateUpstreams),
            .init("registries", \.registries),
            .init("negativeCache", \.negativeCache),
            .init("proxy", \.connections.proxy),
            .init("noProxy", \.connections.noProxy),
            .init("lookupTimeout", \.connections.lookupMilliseconds),
            .init("connectTimeout", \.connections.connectMilliseconds),
            .init("tlsTimeout", \.connections.tlsMilliseconds),
            .init("firstByteTimeout", \.connections.firstByteMilliseconds),
            .init("maxConnections", \.connections.maximumConnections),
            .init("tls", \.caFile),
        ]
    }
}
