// Decodes the entries of `registries`. Rules over several keys (a scheme and an endpoint, a user and a password) are
// checked after an entry has been read, and reported at the key to change.

internal import OCI

enum RegistryDecoder {
    /// Dotted paths below one entry.
    static var allKeys: [String] { keys.flatMap(\.paths) }

    static func decode(_ items: [ConfigValue]) -> [RegistryConfig] {
        var registries: [RegistryConfig] = []
        var first: [RegistryHost: String] = [:]
        for item in items {
            guard let registry = decode(item) else { continue }
            if let earlier = first[registry.name] {
                (item.child("name") ?? item).report("\(registry.name) is configured already, by \(earlier)")
                continue
            }
            first[registry.name] = item.path
            registries.append(registry)
        }
        return registries
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
        registry.endpoint = draft.endpoint?.url
        registry.sendsNamespace = draft.sendsNamespace
        registry.scheme = draft.scheme ?? draft.endpoint?.scheme ?? .https
        registry.auth = auth(draft.auth, at: item.child("auth") ?? item)
        registry.tls = draft.tls
        check(draft, at: item)
        return registry
    }

    private static func check(_ draft: Draft, at item: ConfigValue) {
        if let scheme = draft.scheme, let endpoint = draft.endpoint, scheme != endpoint.scheme {
            item.child("endpoint")?.report("begins with \(endpoint.scheme.rawValue), but scheme is \(scheme.rawValue)")
        }
        guard let tls = item.child("tls") else { return }
        if tls.isSet("key"), !tls.isSet("cert") {
            tls.child("key")?.report("needs tls.cert, the certificate it belongs to")
        }
        if tls.isSet("cert"), !tls.isSet("key") {
            tls.child("cert")?.report("needs tls.key, the certificate's private key")
        }
    }

    /// An entry before the rules over several keys are checked.
    private struct Draft {
        var name: RegistryHost?
        var description: String?
        var scheme: RegistryConfig.Scheme?
        var endpoint: (scheme: RegistryConfig.Scheme, url: String)?
        var sendsNamespace = true
        var auth = AuthDraft()
        var tls = RegistryTLS()
    }

    private static var keys: [ConfigKey<Draft>] {
        [
            .init(name: "name") { value, draft throws(Refusal) in
                try value.assign(ConfigRules.registryHost, to: &draft.name)
            },
            .init(name: "description") { value, draft throws(Refusal) in
                try value.assign({ $0 }, to: &draft.description)
            },
            .init(name: "scheme") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.scheme, to: &draft.scheme)
            },
            .init(name: "endpoint") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.endpoint, to: &draft.endpoint)
            },
            .init(name: "sendNamespace") { value, draft throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &draft.sendsNamespace)
            },
            .init(name: "auth", children: authKeys.flatMap(\.paths)) { value, draft throws(Refusal) in
                try value.decode(authKeys, into: &draft.auth)
            },
            .init(name: "tls", children: tlsKeys.flatMap(\.paths)) { value, draft throws(Refusal) in
                try value.decode(tlsKeys, into: &draft.tls)
            },
        ]
    }
}

// MARK: - auth

extension RegistryDecoder {
    private struct AuthDraft {
        var user: String?
        var password: String?
        var passwordFromEnv: String?
        var tokenRealm: String?
    }

    private static var authKeys: [ConfigKey<AuthDraft>] {
        [
            .init(name: "user") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.line, to: &draft.user)
                // RFC 7617 §2: the first colon ends the user name.
                if draft.user?.contains(":") == true { throw Refusal("must not hold a colon") }
            },
            .init(name: "password") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.line, to: &draft.password)
            },
            .init(name: "passwordFromEnv") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.line, to: &draft.passwordFromEnv)
            },
            .init(name: "tokenRealm") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.tokenRealm, to: &draft.tokenRealm)
            },
            .notBuilt("token", keys: ["provider", "providerOpts", "expiry", "static"]) { $0.holdsNothing() },
        ]
    }

    /// Nil when no credentials are set, or when they are invalid; invalid ones are reported.
    private static func auth(_ draft: AuthDraft, at value: ConfigValue) -> RegistryAuth? {
        guard value.isSet("user") else {
            let orphan = ["password", "passwordFromEnv", "tokenRealm"].first { value.isSet($0) }
            if let orphan { value.child(orphan)?.report("needs auth.user") }
            return nil
        }
        guard value.isSet("password") || value.isSet("passwordFromEnv") else {
            value.child("user")?.report("needs auth.password or auth.passwordFromEnv")
            return nil
        }
        guard !(value.isSet("password") && value.isSet("passwordFromEnv")) else {
            value.child("passwordFromEnv")?.report("password is set too; only one of them can be")
            return nil
        }
        let fromVariable = draft.passwordFromEnv.flatMap { variable in
            value.child("passwordFromEnv").flatMap { password(fromVariable: variable, at: $0) }
        }
        guard let user = draft.user, let password = draft.password ?? fromVariable else { return nil }
        return RegistryAuth(user: user, password: Secret(password), tokenRealm: draft.tokenRealm)
    }

    private static func password(fromVariable variable: String, at value: ConfigValue) -> String? {
        guard let password = value.reader.environment(variable), !password.isEmpty else {
            value.report("the environment variable \(variable) is not set, or empty")
            return nil
        }
        guard (try? ConfigRules.line(password)) != nil else {
            value.report("the environment variable \(variable) holds a control character")
            return nil
        }
        return password
    }
}

// MARK: - tls

extension RegistryDecoder {
    private static var tlsKeys: [ConfigKey<RegistryTLS>] {
        [
            .init(name: "ca") { value, tls throws(Refusal) in
                try value.assignUnlessEmpty(readableFile(value.reader.directory), to: &tls.caFile)
            },
            .init(name: "cert") { value, tls throws(Refusal) in
                try value.assignUnlessEmpty(readableFile(value.reader.directory), to: &tls.certificateFile)
            },
            .init(name: "key") { value, tls throws(Refusal) in
                try value.assignUnlessEmpty(readableFile(value.reader.directory), to: &tls.keyFile)
            },
            .init(name: "insecureSkipVerify") { value, tls throws(Refusal) in
                try value.assign(ConfigRules.flag, to: &tls.insecureSkipVerify)
            },
        ]
    }

    /// A relative path begins at the configuration file's directory, not at the working directory.
    private static func readableFile(_ directory: String) -> (String) throws(Refusal) -> String {
        { text throws(Refusal) in
            let path = try ConfigRules.path(text)
            let full = path.hasPrefix("/") ? path : directory + path
            try ConfigFile.check(full)
            return full
        }
    }
}
