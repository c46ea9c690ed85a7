// Where `healthcheck` sends its request: the address of a server, from its configuration or from the command line of
// its process.

import ArgumentParser
import Configuration
import Glibc
import OCI
import Registry

enum HealthTarget {
    /// The settings that decide the address.
    private static let keys: Set<String> = ["port", "host", "health"]

    /// - Throws: when the file cannot be read, or one of the keys is wrong.
    static func config(file: String) throws(ConfigError) -> Config {
        let examined = ConfigDecoder.examine(path: file, environment: Environment.value)
        // Without any key, the file is not YAML or is not there.
        let isRead = examined.problems.isEmpty || !examined.lines.isEmpty
        let problems = examined.problems.filter { !isRead || keys.contains($0.key) }
        guard problems.isEmpty else { throw ConfigError(problems: problems) }
        return examined.config
    }

    /// `/readyz` of the health listener or, without one, `/v2/` of the serving port.
    static func url(of config: Config) throws(Refusal) -> UpstreamURL {
        let port = config.healthPort ?? config.port
        guard port != 0 else {
            throw Refusal(
                "\(config.healthPort == nil ? "port" : "health"): 0 is any free port: name the server's with --url")
        }
        let path = config.healthPort == nil ? "/v2/" : "/readyz"
        return try url("http://\(reachable(config.host)):\(port)\(path)")
    }

    /// The address at which a server on this machine is reached that listens on `host`.
    private static func reachable(_ host: String) -> String {
        guard let address = NetworkAddress(literal: host) else { return host }
        let isAny = address.bytes.allSatisfy { $0 == 0 }
        if address.bytes.count == 4 { return isAny ? "127.0.0.1" : address.text }
        return isAny ? "[::1]" : "[\(address.text)]"
    }

    static func url(_ text: String) throws(Refusal) -> UpstreamURL {
        guard let url = UpstreamURL(text) else {
            throw Refusal("must be an http or https URL without user information, not \(ConfigRules.shown(text))")
        }
        return url
    }

    static func processID(_ text: String) throws(Refusal) -> Int32 {
        guard let number = OutsideNumber.decimal(text, in: 1...Int32.max) else {
            throw Refusal("must be a process id, not \(ConfigRules.shown(text))")
        }
        return number
    }
}

/// The command line of a running server.
enum ServerCommandLine {
    /// Longest command line that is read: twice the limit for one argument (MAX_ARG_STRLEN of execve(2)).
    private static let maximumBytes = 256 * 1024
    private static let program = "ociregistry"

    /// The options of the server that runs as this process. Nil when the process is another program.
    /// - Throws: when the process cannot be examined.
    static func options(ofProcess process: Int32) throws -> Serve? {
        let path = "/proc/\(process)/cmdline"
        do throws(SmallFileFailure) {
            return options(try SmallFile.read(path, atMost: maximumBytes))
        } catch {
            throw Failure(description: error.isMissing ? "no process \(process)" : "\(path): \(error.reason)")
        }
    }

    /// - Parameter bytes: the arguments, each with a closing zero (proc_pid_cmdline(5)).
    static func options(_ bytes: [UInt8]) -> Serve? {
        let words = bytes.split(separator: 0, omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
        // The last zero closes the last argument. In a container, an init such as tini may come before the program.
        guard let first = words.firstIndex(where: { $0.split(separator: "/").last.map(String.init) == program })
        else { return nil }
        return try? OCIRegistry.parseAsRoot(Array(words[(first + 1)...].dropLast())) as? Serve
    }
}
