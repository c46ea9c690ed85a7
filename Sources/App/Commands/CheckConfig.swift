// The `check-config` command: validates a configuration file as `serve` does, without a server.

import ArgumentParser
import Configuration
import Registry

struct CheckConfig: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check-config",
        abstract: "Validate a configuration file.",
        discussion: """
            Every problem is printed as file:line: key: reason, and the exit status is then 78. The files that the \
            configuration names are read, and the environment's variables for proxies and authorities. No socket and \
            no cache is opened, and nothing is written.
            """)

    @OptionGroup var global: GlobalOptions

    @Argument(
        help: .init("Configuration file (YAML).", valueName: "file"), completion: .file(extensions: ["yaml", "yml"]),
        transform: { try ConfigRules.path($0) })
    var file: String?

    func validate() throws {
        if (file == nil) == (global.configFile == nil) {
            throw ValidationError("give the configuration file once: FILE, or --config-file")
        }
    }

    func run() throws {
        guard let path = file ?? global.configFile else { return }
        let check = ConfigCheck(path: path, environment: Environment.value) { global.apply(to: &$0) }
        guard check.problems.isEmpty else {
            throw StartFailure.report(ConfigError(problems: check.problems).description, Exit.configuration)
        }
        LogFile.writeToStandardOutput(Array("\(path): \(check.summary)\n".utf8))
    }
}

/// A configuration file with everything that is wrong with it.
struct ConfigCheck {
    let problems: [ConfigError.Problem]
    /// Keys with problems have their defaults.
    let config: Config
    /// The lines of the top-level keys.
    private let lines: [String: Int]
    private let file: String

    /// - Parameters:
    ///   - path: the configuration file; nil: there is none, and everything is the command line's.
    ///   - override: applies the options of the command line.
    init(path: String?, environment: @escaping (String) -> String?, override: (inout Config) -> Void) {
        let examined =
            path.map {
                ConfigDecoder.examine(path: $0, environment: environment, inspect: NamedFile.contentProblem)
            } ?? .defaults
        let file = path ?? "command line"
        self.file = file
        lines = examined.lines
        var config = examined.config
        override(&config)
        var problems = examined.problems
        let wrongKeys = Set(problems.map(\.key))
        func report(_ key: String, _ reason: String) {
            problems.append(ConfigCheck.problem(file, examined.lines[key], key, reason))
        }
        // A token that is there and wrong has been reported; a missing one would be reported again.
        let isTokenKnown = wrongKeys.isDisjoint(with: ["adminToken", "adminTokenFromEnv"])
        for (key, refusal) in config.listenerProblems where !wrongKeys.contains(key) {
            if isTokenKnown || config.portProblems.contains(where: { $0.refusal == refusal }) {
                report(key, refusal.reason)
            }
        }
        // An option may contradict the file; the file alone has been checked.
        if let conflict = config.conflictOfTags, wrongKeys.isDisjoint(with: ["tagTTL", "alwaysPullLatest"]) {
            report(conflict.key, conflict.refusal.reason)
        }
        if let logFile = config.logFile, let reason = LogFile.openingProblem(logFile) {
            report("logFile", reason)
        }
        problems.sort { ($0.line ?? 0) < ($1.line ?? 0) }
        do throws(ConfigError) { try config.readEnvironment(environment) } catch { problems += error.problems }
        if let path = config.environment.caFile, let reason = NamedFile.contentProblem(.authorities, path) {
            problems.append(
                .init(file: "environment", line: nil, key: "SSL_CERT_FILE", reason: "\(path): \(reason)"))
        }
        self.problems = problems
        self.config = config
    }

    /// A problem of a top-level key, at its line.
    func problem(_ key: String, _ reason: String) -> ConfigError.Problem {
        ConfigCheck.problem(file, lines[key], key, reason)
    }

    /// - Parameter reason: may begin with the key.
    private static func problem(_ file: String, _ line: Int?, _ key: String, _ reason: String) -> ConfigError.Problem {
        let prefix = "\(key): "
        let rest = reason.hasPrefix(prefix) ? String(reason.dropFirst(prefix.count)) : reason
        return .init(file: file, line: line, key: key, reason: rest)
    }

    /// One line for a valid configuration.
    var summary: String {
        let patterns = config.registries.count { $0.name.host == nil }
        let count = config.registries.count
        var text = "valid; \(count) \(count == 1 ? "registry" : "registries")"
        if patterns > 0 { text += " (\(patterns) by pattern)" }
        var listeners = ["images \(Self.address(config.host, config.port))"]
        if let port = config.metricsPort {
            listeners.append("metrics \(Self.address(config.metricsHost ?? config.host, port))")
        }
        if let port = config.healthPort { listeners.append("health \(Self.address(config.host, port))") }
        if let point = config.adminListen { listeners.append("administration \(Self.address(point.host, point.port))") }
        return text + "; \(listeners.count) \(listeners.count == 1 ? "listener" : "listeners"): "
            + listeners.joined(separator: ", ")
    }

    private static func address(_ host: String, _ port: UInt16) -> String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
