// Credentials from docker's configuration file, and from the credential helpers that it names.

package import Logging
package import OCI

/// The credentials that docker on this machine would use for one registry.
package final class DockerConfigCredentials: CredentialProvider {
    private let host: RegistryHost
    private let file: DockerConfigFile
    private let programs: ChildPrograms
    private let logger: Logger
    private let environment: [String: String]?

    /// - Parameters:
    ///   - file: shared by the providers of one server.
    ///   - environment: the environment of helpers, whose `PATH` finds them; nil: that of this process.
    package init(
        host: RegistryHost, file: DockerConfigFile, programs: ChildPrograms, logger: Logger,
        environment: [String: String]? = nil
    ) {
        self.host = host
        self.file = file
        self.programs = programs
        self.logger = logger
        self.environment = environment
    }

    package func provide(then: @escaping (Result<ProvidedCredentials?, CredentialFailure>) -> Void) {
        file.read { [self] result in
            do throws(CredentialFailure) {
                switch try result.get().lookup(host) {
                case nil: then(.success(nil))
                case .credentials(let credentials)?: then(.success(ProvidedCredentials(credentials)))
                case .helper(let name, let serverURL)?: ask(name, serverURL, then)
                }
            } catch {
                let failure = CredentialFailure("docker configuration: \(error.reason)")
                logger.warning(
                    "the docker configuration gives no credentials",
                    metadata: ["host": "\(host)", "file": "\(file.path)", "reason": "\(error.reason)"])
                then(.failure(failure))
            }
        }
    }

    private func ask(
        _ name: String, _ serverURL: String, _ then: @escaping (Result<ProvidedCredentials?, CredentialFailure>) -> Void
    ) {
        let program = "docker-credential-\(name)"
        programs.run([program, "get"], input: Array(serverURL.utf8), environment: environment) { [self] result in
            switch result {
            case .success(let output) where output.ending == .exited(status: 0):
                do throws(CredentialFailure) {
                    let credentials = try CredentialHelperReply.decode(output.stdout)
                    then(.success(credentials.map { ProvidedCredentials($0) }))
                } catch {
                    then(.failure(failure(program, error.reason, output.stderr)))
                }
            case .success(let output):
                if case .exited = output.ending, CredentialHelperReply.isNotFound(output.stdout) {
                    return then(.success(nil))
                }
                then(.failure(failure(program, output.description, output.stderr)))
            case .failure(let error):
                then(.failure(failure(program, error.reason, error.stderr)))
            }
        }
    }

    /// Logs a failed helper with what it wrote for people, and makes the failure, which is without that.
    private func failure(_ program: String, _ reason: String, _ stderr: [UInt8]) -> CredentialFailure {
        logger.warning(
            "a credential helper gave no credentials",
            metadata: [
                "host": "\(host)", "helper": "\(program)", "reason": "\(reason)",
                "stderr": "\(ErrorText.shown(stderr))",
            ])
        return CredentialFailure("credential helper \(program): \(reason)")
    }
}

/// What a program wrote to its standard error, for the log.
enum ErrorText {
    /// A helper's message has a line or two; a stack trace may follow.
    static let maximumLines = 3
    static let maximumCharacters = 500

    /// The first lines, with everything but visible characters and spaces escaped.
    static func shown(_ bytes: [UInt8]) -> String {
        let lines = bytes.split(separator: 0x0A).prefix(maximumLines).map { String(decoding: $0, as: UTF8.self) }
        let text = lines.joined(separator: " | ").unicodeScalars.map { scalar in
            scalar.properties.generalCategory == .control
                ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
        }
        return String(text.joined().prefix(maximumCharacters))
    }
}

extension DockerConfig {
    /// Reads the file at `path`, and blocks meanwhile.
    package static func read(_ path: String) -> Result<DockerConfig, CredentialFailure> {
        Result {
            // Without a known stamp the content is always new.
            guard case .new(let bytes, _) = try ReplaceableFile.read(path, maximumBytes: maximumBytes) else {
                throw CredentialFailure("unchanged")
            }
            return try DockerConfig(bytes)
        }.mapError { CredentialFailure(reading: $0) }
    }
}

/// Docker's configuration file. It is read for each look-up, and parsed again when it has changed.
package final class DockerConfigFile {
    let path: String
    private let offload: Offload
    private let logger: Logger
    private var known: (config: DockerConfig, stamp: ReplaceableFile.Stamp)?
    /// The ignored keys that the log has already.
    private var loggedKeys: [String] = []

    package init(path: String, offload: Offload, logger: Logger) {
        self.path = path
        self.offload = offload
        self.logger = logger
    }

    /// - Parameter then: called once, on the loop, and not before this returns.
    func read(then: @escaping (Result<DockerConfig, CredentialFailure>) -> Void) {
        let (path, known) = (path, known)
        offload.run({
            () throws -> (config: DockerConfig, stamp: ReplaceableFile.Stamp?) in
            let maximum = DockerConfig.maximumBytes
            switch try ReplaceableFile.read(path, maximumBytes: maximum, known: known?.stamp) {
            case .new(let bytes, let stamp): return (try DockerConfig(bytes), stamp)
            case .unchanged(let stamp):
                guard let known else { throw CredentialFailure("unchanged") }
                return (known.config, stamp)
            }
        }) { [self] result in
            if case .success(let (config, stamp)) = result {
                self.known = stamp.map { (config, $0) }
                logIgnoredKeys(config)
            }
            then(result.map(\.config).mapError { CredentialFailure(reading: $0) })
        }
    }

    /// Keys in one line of the log.
    private static let maximumLoggedKeys = 20

    private func logIgnoredKeys(_ config: DockerConfig) {
        guard config.ignoredKeys != loggedKeys else { return }
        loggedKeys = config.ignoredKeys
        guard !loggedKeys.isEmpty else { return }
        let keys = loggedKeys.prefix(DockerConfigFile.maximumLoggedKeys).joined(separator: ", ")
        logger.info(
            "entries of the docker configuration that name no whole registry are not used",
            metadata: ["file": "\(path)", "keys": "\(keys)", "count": "\(loggedKeys.count)"])
    }
}
