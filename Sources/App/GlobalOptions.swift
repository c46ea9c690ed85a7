// The options that sub-commands share. The global ones are accepted before the sub-command, as in the reference, or
// after it; the last value counts.

import ArgumentParser
import Configuration
import Registry

/// The options of every sub-command.
struct GlobalOptions: ParsableArguments {
    @Option(
        help: .init("Least severe level logged: debug, info, warn or error (default: error).", valueName: "level"),
        transform: { try ConfigRules.logLevel($0) })
    var logLevel: LogLevel?

    @Option(
        help: .init("Form of the log's lines: text or json (default: text).", valueName: "format"),
        transform: { try ConfigRules.logFormat($0) })
    var logFormat: LogFormat?

    @Option(
        help: .init("Configuration file (YAML). Command-line options override the file.", valueName: "file"),
        completion: .file(extensions: ["yaml", "yml"]), transform: { try ConfigRules.path($0) })
    var configFile: String?

    @Option(
        help: .init("Directory of the cache (default: /var/lib/ociregistry).", valueName: "dir"),
        completion: .directory, transform: { try ConfigRules.path($0) })
    var imagePath: String?

    @Option(
        help: .init("File to append the log to (default: standard error).", valueName: "file"),
        completion: .file(), transform: { try ConfigRules.path($0) })
    var logFile: String?

    /// The settings of the configuration file (or the defaults), overridden by these options.
    func config(environment: @escaping (String) -> String?) throws(ConfigError) -> Config {
        var config = Config()
        if let configFile { config = try ConfigDecoder.load(path: configFile, environment: environment) }
        apply(to: &config)
        return config
    }

    func apply(to config: inout Config) {
        if let logLevel { config.logLevel = logLevel }
        if let logFormat { config.logFormat = logFormat }
        if let imagePath { config.imagePath = imagePath }
        if let logFile { config.logFile = logFile }
    }
}

extension GlobalOptions {
    /// The settings overridden by a sub-command's own options. An invalid file ends the program and reports every
    /// problem.
    func resolve(_ apply: (inout Config) throws -> Void) throws -> Config {
        do {
            var config = try config(environment: Environment.value)
            try apply(&config)
            return config
        } catch {
            throw StartFailure.report("\(error)", Exit.configuration)
        }
    }
}

extension Config {
    /// Opens the log; a failure ends the program.
    func openLog() throws -> LogWriter {
        do throws(LogFileError) {
            return try LogWriter(path: logFile, format: logFormat, level: logLevel)
        } catch {
            throw StartFailure.report("log file: \(error)", Exit.configuration)
        }
    }
}

/// The platforms of images: options of every sub-command that fills the cache.
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
