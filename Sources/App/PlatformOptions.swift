// The platform options of every sub-command that fills or reads the cache by image.

import ArgumentParser
import Configuration
import Registry

struct PlatformOptions: ParsableArguments {
    @Option(
        help: .init("Operating system of the images to load (default: this machine's).", valueName: "os"),
        transform: { try ConfigRules.os($0) })
    var os: String?

    @Option(
        help: .init("Their architecture, such as amd64 or arm/v7 (default: this machine's).", valueName: "arch"),
        transform: { try ConfigRules.arch($0) })
    var arch: String?

    @Option(
        defaultAsFlag: Switch.on, parsing: .next,
        help: .init("Load the images of all platforms.", valueName: "true|false"))
    var allPlatforms: Switch?

    func validate() throws { try Switch.check(allPlatforms, "--all-platforms") }

    func apply(to config: inout Config) {
        if let os { config.os = os }
        if let arch { config.arch = arch }
        if let allPlatforms { config.allPlatforms = allPlatforms == .on }
    }
}
