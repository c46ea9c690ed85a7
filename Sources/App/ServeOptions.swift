// The options of `serve`. A switch is given alone, or as `--switch=false` to turn off what the configuration file turns
// on.

import ArgumentParser
import Configuration
import OCI
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
        help: .init("Port for Prometheus and a page to look at (default: none); 0 is any free one.", valueName: "port"),
        transform: { try ConfigRules.port($0) })
    var metrics: UInt16?

    @Option(
        help: .init("Address of the metrics port (default: that of --host).", valueName: "address"),
        transform: { try ConfigRules.listenAddress($0) })
    var metricsHost: String?

    @Option(
        help: .init("Port of the health listener; 0 is any free one (default: none).", valueName: "port"),
        transform: { try ConfigRules.port($0) })
    var health: UInt16?

    @Option(
        help: .init("Address and port for administration (default: none).", valueName: "address:port"),
        transform: { try ConfigRules.listenPoint($0) })
    var adminListen: ListenPoint?

    @Option(
        defaultAsFlag: Switch.on, parsing: .next,
        help: .init("Administer on --port too; needs adminToken.", valueName: "true|false"))
    var adminOnServingPort: Switch?

    @Option(
        help: .init("Most the cache may hold, as 500GB or 2TiB (default: no limit).", valueName: "size"),
        transform: { try ConfigRules.sizeBytes($0) ?? 0 })
    var maxBytes: Int64?

    @Option(
        help: .init("What must stay free on the cache's file system (default: nothing).", valueName: "size"),
        transform: { try ConfigRules.sizeBytes($0) ?? 0 })
    var minFreeBytes: Int64?

    @Option(
        help: .init("Upstream registry of requests that name none.", valueName: "host"),
        transform: { try ConfigRules.registryHost($0) })
    var defaultNs: RegistryHost?

    @Option(
        help: .init("Give up an upstream that makes no progress for so long (default: 60000).", valueName: "ms"),
        transform: { try ConfigRules.timeoutMilliseconds($0) })
    var pullTimeout: Int?

    @Option(
        defaultAsFlag: Switch.on, parsing: .next,
        help: .init("Never ask an upstream: only what is cached is served.", valueName: "true|false"))
    var airGapped: Switch?

    @Option(
        defaultAsFlag: Switch.on, parsing: .next,
        help: .init("Ask the upstream at each pull whether a cached latest is current.", valueName: "true|false"))
    var alwaysPullLatest: Switch?

    @Option(
        defaultAsFlag: Switch.on, parsing: .next,
        help: .init("Serve docker.io/library/hello-world:latest from the program itself.", valueName: "true|false"))
    var helloWorld: Switch?

    @Option(
        defaultAsFlag: Switch.on, parsing: .next,
        help: .init("Reload the configuration file when it has changed.", valueName: "true|false"))
    var reloadOnChange: Switch?

    @Flag(
        inversion: .prefixedNo,
        help: "Fetch the rest of an image when one of its layers is asked for (default: on).")
    var prefetchLayers: Bool?

    @Option(
        help: .init(
            "Image lists or tarballs to fill the cache from when it starts: a file, a quoted glob, or several "
                + "with commas between.", valueName: "files"),
        completion: .file(), transform: { try ConfigRules.path($0) })
    var preloadImages: String?

    func validate() throws {
        try Switch.check(adminOnServingPort, "--admin-on-serving-port")
        try Switch.check(airGapped, "--air-gapped")
        try Switch.check(alwaysPullLatest, "--always-pull-latest")
        try Switch.check(helloWorld, "--hello-world")
        try Switch.check(reloadOnChange, "--reload-on-change")
    }

    func apply(to config: inout Config) {
        if let port { config.port = port }
        if let host { config.host = host }
        if let metrics { config.metricsPort = metrics }
        if let metricsHost { config.metricsHost = metricsHost }
        if let health { config.healthPort = health }
        if let adminListen { config.adminListen = adminListen }
        if let adminOnServingPort { config.adminOnServingPort = adminOnServingPort == .on }
        if let maxBytes { config.budget.maxBytes = maxBytes }
        if let minFreeBytes { config.budget.minFreeBytes = minFreeBytes }
        if let defaultNs { config.defaultNamespace = defaultNs }
        if let pullTimeout { config.pullTimeoutMilliseconds = pullTimeout }
        if let airGapped { config.airGapped = airGapped == .on }
        if let alwaysPullLatest { config.alwaysPullLatest = alwaysPullLatest == .on }
        if let helloWorld { config.helloWorld = helloWorld == .on }
        if let reloadOnChange { config.reloadOnChange = reloadOnChange == .on }
        if let preloadImages { config.preloadImages = preloadImages }
        if let prefetchLayers { config.prefetchLayers = prefetchLayers ? .layer : .never }
    }
}

/// The value of a switch. `init` accepts an invalid value and `validate` refuses it: if `init` refused it,
/// argument-parser (1.8) would treat the switch as one without a value, and so as on. For a similar reason switches
/// parse their value with `.next` only: with scanning, `--air-gapped=false --hello-world` would turn both on.
enum Switch: ExpressibleByArgument, Equatable, CustomStringConvertible {
    case on, off
    case wrong(Refusal)

    init(argument: String) {
        do throws(Refusal) {
            self = try ConfigRules.flag(argument) ? .on : .off
        } catch {
            self = .wrong(error)
        }
    }

    var description: String { self == .off ? "false" : "true" }

    static func check(_ value: Switch?, _ flag: String) throws {
        if case .wrong(let refusal) = value { throw ValidationError("\(flag): \(refusal)") }
    }
}
