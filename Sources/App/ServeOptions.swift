// The flags of `serve`. A switch can be given alone, or as `--switch=false` to turn off what the configuration file
// turns on.

import ArgumentParser
import Registry

struct ServeOptions: ParsableArguments {
    @Option(
        help: .init("Port to listen on; 0 is any free one (default: 8080).", valueName: "port"),
        transform: { try ConfigRules.port($0) })
    var port: UInt16?

    @Option(
        help: .init("Address to listen on (default: 0.0.0.0).", valueName: "address"),
        transform: { try ConfigRules.listenAddress($0) })
    var host: String?

    @Option(
        help: .init("Upstream registry of requests that name none.", valueName: "host"),
        transform: { try ConfigRules.registryHost($0) })
    var defaultNs: RegistryHost?

    @Option(
        help: .init("Give up an upstream that makes no progress for so long (default: 60000).", valueName: "ms"),
        transform: { try ConfigRules.timeoutMilliseconds($0) })
    var pullTimeout: Int?

    @Option(
        defaultAsFlag: true,
        help: .init("Never ask an upstream: what is not cached is not found.", valueName: "true|false"),
        transform: { try ConfigRules.flag($0) })
    var airGapped: Bool?

    @Option(
        defaultAsFlag: true,
        help: .init("Ask the upstream whether a cached latest is still the newest.", valueName: "true|false"),
        transform: { try ConfigRules.flag($0) })
    var alwaysPullLatest: Bool?

    @Option(
        defaultAsFlag: true,
        help: .init("Serve docker.io/library/hello-world:latest from the program itself.", valueName: "true|false"),
        transform: { try ConfigRules.flag($0) })
    var helloWorld: Bool?

    @Flag(
        inversion: .prefixedNo,
        help: "Fetch an image's config and layers when its manifest is asked for (default: on).")
    var prefetchLayers: Bool?

    func apply(to config: inout Config) {
        if let port { config.port = port }
        if let host { config.host = host }
        if let defaultNs { config.defaultNamespace = defaultNs }
        if let pullTimeout { config.pullTimeoutMilliseconds = pullTimeout }
        if let airGapped { config.airGapped = airGapped }
        if let alwaysPullLatest { config.alwaysPullLatest = alwaysPullLatest }
        if let helloWorld { config.helloWorld = helloWorld }
        if let prefetchLayers { config.prefetchLayers = prefetchLayers }
    }
}
