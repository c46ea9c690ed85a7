// Decodes the entries of `registries`. Rules over several keys (a scheme and an endpoint, two lists of endpoints) are
// checked after an entry has been read, and reported at the key to change.

internal import OCI

enum RegistryDecoder {
    /// Dotted paths below one entry.
    static var allKeys: [String] { keys.flatMap(\.paths) }

    static func decode(_ items: [ConfigValue]) -> [RegistryConfig] {
        var registries: [RegistryConfig] = []
        for item in items {
            guard let registry = decode(item) else { continue }
            if let reason = conflict(registry.name, with: registries.map(\.name)) {
                (item.child("name") ?? item).report(reason)
                continue
            }
            registries.append(registry)
        }
        return registries
    }

    /// Why two entries could not be told apart: they have the same name, or are patterns of the same rank that both
    /// match some host.
    private static func conflict(_ name: RegistryPattern, with earlier: [RegistryPattern]) -> String? {
        for (index, other) in earlier.enumerated() {
            if other == name { return "\(name) is configured already, by registries[\(index)]" }
            guard name.host == nil, other.host == nil, name.literalCount == other.literalCount else { continue }
            if name.overlaps(other) {
                return "matches hosts that registries[\(index)], \(other), matches too, and neither is more specific"
            }
        }
        return nil
    }

    private static func decode(_ item: ConfigValue) -> RegistryConfig? {
        var draft = Draft()
        do throws(Refusal) {
            try item.decode(keys, into: &draft)
        } catch {
            item.report(error.reason)
            return nil
        }
        guard let name = draft.name else {
            if item.child("name")?.node.isNull ?? true { item.report("needs a name, the host of image references") }
            return nil
        }
        var registry = RegistryConfig(name: name)
        registry.description = draft.description
        registry.isList = !draft.endpoints.isEmpty
        registry.endpoints = registry.isList ? draft.endpoints : draft.endpoint.map { [EndpointConfig($0)] } ?? []
        registry.sendsNamespace = draft.sendsNamespace
        registry.scheme = draft.scheme ?? .https
        registry.auth = draft.auth
        registry.tls = draft.tls
        registry.connections = draft.connections
        registry.quotaReserve = draft.quotaReserve
        check(draft, registry, at: item)
        return registry
    }

    private static func check(_ draft: Draft, _ registry: RegistryConfig, at item: ConfigValue) {
        if let scheme = draft.scheme, let endpoint = draft.endpoint, scheme != endpoint.scheme {
            item.child("endpoint")?.report("begins with \(endpoint.scheme.rawValue), but scheme is \(scheme.rawValue)")
        }
        if registry.isList, draft.endpoint != nil {
            item.child("endpoint")?.report("endpoints is set too; only one of them can be")
        }
        if registry.isList, draft.scheme != nil {
            item.child("scheme")?.report("is not used beside endpoints, whose URLs begin with a scheme each")
        }
        if registry.auth != nil, registry.isList, !draft.endpoints.contains(where: { isOwn($0, of: registry.name) }) {
            item.child("auth")?.report(
                "is sent to the registry's own host, which endpoints does not list; give the items an auth each")
        }
        if registry.name.isEveryHost {
            // A password for every host would go to whichever host a client names.
            if draft.auth != nil { item.child("auth")?.report("cannot be set for every host") }
            if draft.tls.keyFile != nil { item.child("tls")?.report("cannot have a client key for every host") }
        }
        checkECR(registry, at: item)
    }

    /// ECR's tokens are sent to hosts of ECR, or where the configuration says.
    private static func checkECR(_ registry: RegistryConfig, at item: ConfigValue) {
        guard case .ecr = registry.auth?.kind, registry.endpoints.isEmpty, let host = registry.name.host else { return }
        if ECRHost(host) == nil {
            item.child("auth")?.report("provider ecr is for hosts of ECR, or needs an endpoint")
        }
    }

    private static func isOwn(_ endpoint: EndpointConfig, of name: RegistryPattern) -> Bool {
        RegistryHost(endpoint.address.authority).map(name.matches) ?? false
    }

    /// An entry before the rules over several keys are checked.
    private struct Draft {
        var name: RegistryPattern?
        var description: String?
        var scheme: RegistryConfig.Scheme?
        var endpoint: EndpointAddress?
        var endpoints: [EndpointConfig] = []
        var sendsNamespace = true
        var auth: RegistryAuth?
        var tls = RegistryTLS()
        var connections = ConnectionSettings()
        var quotaReserve: Int?
    }

    private static var keys: [ConfigKey<Draft>] {
        ConnectionKeys.all(\Draft.connections) + [ConnectionKeys.pullTimeout(\Draft.connections)] + [
            .init(name: "name") { value, draft throws(Refusal) in
                try value.assign(RegistryPattern.init(parsing:), to: &draft.name)
            },
            .init(name: "description") { value, draft throws(Refusal) in
                try value.assign({ $0 }, to: &draft.description)
            },
            .init(name: "scheme") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.scheme, to: &draft.scheme)
            },
            .init(name: "endpoint") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(EndpointAddress.init(parsing:), to: &draft.endpoint)
            },
            .init(name: "endpoints", children: EndpointDecoder.allKeys.map { "[].\($0)" }) {
                value, draft throws(Refusal) in
                draft.endpoints = try EndpointDecoder.decode(value)
            },
            .init(name: "sendNamespace") { value, draft throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &draft.sendsNamespace)
            },
            AuthDecoder.key { $0.auth = $1 },
            TLSDecoder.key { $0.tls = $1 },
            QuotaDecoder.key(\Draft.quotaReserve),
        ]
    }
}

/// Decodes the items of `endpoints`: a URL, or a mapping with one.
enum EndpointDecoder {
    /// More than anyone lists; each may cost a request a time limit.
    private static let maximumCount = 16

    static var allKeys: [String] { keys.flatMap(\.paths) }

    static func decode(_ value: ConfigValue) throws(Refusal) -> [EndpointConfig] {
        let items = try value.items()
        guard items.count <= maximumCount else { throw Refusal("must have at most \(maximumCount) items") }
        var endpoints: [EndpointConfig] = []
        for item in items {
            do throws(Refusal) {
                let endpoint = try decode(item: item)
                if endpoints.contains(where: { $0.address == endpoint.address }) { throw Refusal("is listed twice") }
                endpoints.append(endpoint)
            } catch {
                item.report(error.reason)
            }
        }
        return endpoints
    }

    private static func decode(item: ConfigValue) throws(Refusal) -> EndpointConfig {
        if case .scalar = item.node.content { return EndpointConfig(try EndpointAddress(parsing: try item.text())) }
        var draft = Draft()
        try item.decode(keys, into: &draft)
        guard let address = draft.address else {
            // A URL that is there and wrong has been reported.
            if !item.isSet("url") { throw Refusal("needs a url") }
            throw Refusal("has no usable url")
        }
        var endpoint = EndpointConfig(address)
        endpoint.auth = draft.auth
        endpoint.tls = draft.tls
        endpoint.is404Final = draft.is404Final
        return endpoint
    }

    private struct Draft {
        var address: EndpointAddress?
        var auth: RegistryAuth?
        var tls: RegistryTLS?
        var is404Final = false
    }

    private static var keys: [ConfigKey<Draft>] {
        [
            .init(name: "url") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(EndpointAddress.init(parsing:), to: &draft.address)
            },
            .init(name: "final404") { value, draft throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &draft.is404Final)
            },
            AuthDecoder.key { $0.auth = $1 },
            TLSDecoder.key { $0.tls = $1 },
        ]
    }
}

/// Decodes `tls` of a registry or an endpoint.
enum TLSDecoder {
    static func key<Target>(_ assign: @escaping (inout Target, RegistryTLS) -> Void) -> ConfigKey<Target> {
        ConfigKey(name: "tls", children: keys.flatMap(\.paths)) { value, target throws(Refusal) in
            var tls = RegistryTLS()
            try value.decode(keys, into: &tls)
            if value.isSet("key"), !value.isSet("cert") {
                value.child("key")?.report("needs tls.cert, the certificate it belongs to")
            }
            if value.isSet("cert"), !value.isSet("key") {
                value.child("cert")?.report("needs tls.key, the certificate's private key")
            }
            assign(&target, tls)
        }
    }

    private static var keys: [ConfigKey<RegistryTLS>] {
        [
            .init(name: "ca") { value, tls throws(Refusal) in
                try value.assignFile(.authorities, to: &tls.caFile)
            },
            .init(name: "cert") { value, tls throws(Refusal) in
                try value.assignFile(.certificate, to: &tls.certificateFile)
            },
            .init(name: "key") { value, tls throws(Refusal) in
                try value.assignFile(.privateKey, to: &tls.keyFile)
            },
            .init(name: "insecureSkipVerify") { value, tls throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &tls.insecureSkipVerify)
            },
        ]
    }
}

extension ConfigValue {
    /// Sets `target` to the path of a file that can be read. A relative one begins at the configuration file's
    /// directory, not at the working directory.
    func assignFile(_ kind: NamedFile, to target: inout String?) throws(Refusal) {
        try assignUnlessEmpty(
            { text throws(Refusal) in
                let path = try ConfigRules.path(text)
                let full = path.hasPrefix("/") ? path : reader.directory + path
                try ConfigFile.check(full)
                if let reason = reader.inspect?(kind, full) { throw Refusal("\(full): \(reason)") }
                return full
            }, to: &target)
    }
}
