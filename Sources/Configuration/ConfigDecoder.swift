// Decodes the configuration file to a Config. The top-level keys are here, an upstream's in RegistryDecoder.

/// A configuration file as far as it can be decoded: keys with problems have their defaults.
package struct ExaminedConfig {
    package let config: Config
    /// In the order of the file.
    package let problems: [ConfigError.Problem]
    /// The lines of the top-level keys.
    package let lines: [String: Int]

    /// What there is without a file.
    package static var defaults: ExaminedConfig { ExaminedConfig(config: Config(), problems: [], lines: [:]) }
}

/// Decodes a configuration file and collects every problem.
package enum ConfigDecoder {
    /// - Parameters:
    ///   - file: the file's name in errors; relative TLS paths begin at its directory.
    ///   - environment: returns a variable's value, for `passwordFromEnv`.
    /// - Throws: every problem found; a file that is not YAML has one.
    package static func decode(
        yaml: [UInt8], file: String, environment: @escaping (String) -> String?
    ) throws(ConfigError) -> Config {
        let examined = examine(yaml: yaml, file: file, environment: environment)
        guard examined.problems.isEmpty else { throw ConfigError(problems: examined.problems) }
        return examined.config
    }

    /// - Parameter inspect: checks the content of the files that the configuration names; nil: their content is not
    ///   read.
    static func examine(
        yaml: [UInt8], file: String, environment: @escaping (String) -> String?, inspect: NamedFile.Inspection? = nil
    ) -> ExaminedConfig {
        let reader = ConfigReader(file: file, environment: environment, inspect: inspect)
        var config = Config()
        var lines: [String: Int] = [:]
        do throws(YAMLReader.Failure) {
            if let root = try YAMLReader.read(yaml) {
                let document = ConfigValue(reader: reader, node: root, line: root.line, path: "")
                decode(document, into: &config)
                if case .mapping(let entries) = root.content {
                    for entry in entries { lines[entry.key] = entry.keyLine }
                }
                if document.isSet("adminToken"), document.isSet("adminTokenFromEnv") {
                    document.child("adminTokenFromEnv")?.report("adminToken is set too; only one of them can be")
                }
                // An invalid or unset token is reported at its own line.
                if config.adminOnServingPort, !document.isSet("adminToken"), !document.isSet("adminTokenFromEnv") {
                    document.child("adminOnServingPort")?.report(ConfigRules.servingPortNeedsToken)
                }
                TagPolicyKeys.check(document, config)
                // Invalid entries are reported at their own lines.
                if config.registriesOnly, !document.isSet("registries") {
                    document.child("registriesOnly")?.report(NameRuleKeys.noRegistries)
                }
            }
        } catch {
            reader.report(error.reason, line: error.line, key: "")
        }
        config.secretVariables = reader.secretVariables
        return ExaminedConfig(
            config: config, problems: reader.problems.sorted { ($0.line ?? 0) < ($1.line ?? 0) }, lines: lines)
    }

    private static func decode(_ document: ConfigValue, into config: inout Config) {
        do throws(Refusal) { try document.decode(keys, into: &config) } catch { document.report(error.reason) }
    }

    /// Reads and decodes the file at `path`.
    package static func load(
        path: String, environment: @escaping (String) -> String?
    ) throws(ConfigError) -> Config {
        let examined = examine(path: path, environment: environment)
        guard examined.problems.isEmpty else { throw ConfigError(problems: examined.problems) }
        return examined.config
    }

    /// Reads and decodes the file at `path` as far as possible.
    package static func examine(
        path: String, environment: @escaping (String) -> String?, inspect: NamedFile.Inspection? = nil
    ) -> ExaminedConfig {
        do throws(Refusal) {
            return examine(
                yaml: try ConfigFile.read(path), file: path, environment: environment, inspect: inspect)
        } catch {
            let problem = ConfigError.Problem(file: path, line: nil, key: "", reason: error.reason)
            return ExaminedConfig(config: Config(), problems: [problem], lines: [:])
        }
    }

    /// Every key of the file, as dotted paths: `port`, `registries[].auth.user` …
    package static var allKeys: [String] { keys.flatMap(\.paths) }

    static var keys: [ConfigKey<Config>] {
        built + CacheLifeKeys.all + NameRuleKeys.all + TagPolicyKeys.all + connections + notBuilt
    }

    private static var built: [ConfigKey<Config>] {
        [
            .init(name: "imagePath") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.path, to: &config.imagePath)
            },
            .init(name: "logLevel") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.logLevel, to: &config.logLevel)
            },
            .init(name: "logFormat") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.logFormat, to: &config.logFormat)
            },
            .init(name: "logFile") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.path, to: &config.logFile)
            },
            .init(name: "port") { value, config throws(Refusal) in
                try value.assign(ConfigRules.port, to: &config.port)
            },
            .init(name: "host") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.listenAddress, to: &config.host)
            },
            .init(name: "metrics") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.optionalPort, to: &config.metricsPort)
            },
            .init(name: "metricsHost") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.listenAddress, to: &config.metricsHost)
            },
            .init(name: "health") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.optionalPort, to: &config.healthPort)
            },
            .init(name: "pullTimeout") { value, config throws(Refusal) in
                try value.assign(ConfigRules.timeoutMilliseconds, to: &config.pullTimeoutMilliseconds)
            },
            .init(name: "alwaysPullLatest") { value, config throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &config.alwaysPullLatest)
            },
            .init(name: "airGapped") { value, config throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &config.airGapped)
            },
            .init(name: "helloWorld") { value, config throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &config.helloWorld)
            },
            .init(name: "defaultNs") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.registryHost, to: &config.defaultNamespace)
            },
            .init(name: "prefetchLayers") { value, config throws(Refusal) in
                try value.assign(ConfigRules.prefetchLayers, to: &config.prefetchLayers)
            },
            .init(name: "prefetchReferrers") { value, config throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &config.prefetchReferrers)
            },
            .init(name: "rangesAhead") { value, config throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &config.rangesAhead)
            },
            .init(name: "reloadOnChange") { value, config throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &config.reloadOnChange)
            },
            .init(name: "diagnostics") { value, config throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &config.diagnostics)
            },
            .init(name: "preloadImages") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.path, to: &config.preloadImages)
            },
            .init(name: "imageFile") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.path, to: &config.imageFile)
            },
            .init(name: "os") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.os, to: &config.os)
            },
            .init(name: "arch") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.arch, to: &config.arch)
            },
            .init(name: "allPlatforms") { value, config throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &config.allPlatforms)
            },
            .init(name: "adminListen") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.listenPoint, to: &config.adminListen)
            },
            .init(name: "adminToken") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.token, to: &config.adminToken)
            },
            .init(name: "adminTokenFromEnv") { value, config throws(Refusal) in
                var name: String?
                try value.assignUnlessEmpty(ConfigRules.line, to: &name)
                if let name { config.adminToken = try value.token(fromVariable: name) }
            },
            .init(name: "adminOnServingPort") { value, config throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &config.adminOnServingPort)
            },
            .init(name: "dockerConfig") { value, config throws(Refusal) in
                try value.assignFile(.dockerConfig, to: &config.dockerConfig)
            },
            .init(name: "privateUpstreams") { value, config throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.privateUpstreams, to: &config.privateUpstreams)
            },
            .init(name: "registries", children: RegistryDecoder.allKeys.map { "[].\($0)" }) {
                value, config throws(Refusal) in
                config.registries = RegistryDecoder.decode(try value.items())
            },
        ]
    }

    private static var connections: [ConfigKey<Config>] {
        ConnectionKeys.all(\Config.connections) + [ConnectionKeys.authorities, NegativeCacheKeys.key]
    }

    private static var notBuilt: [ConfigKey<Config>] {
        [
            .notBuilt("serverTlsConfig", keys: ["cert", "key", "ca", "clientAuth"]) { value in
                value.holdsNothing(except: ["clientAuth": "none"])
            }
        ]
    }
}
