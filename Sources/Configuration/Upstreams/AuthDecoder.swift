// Decodes `auth`: the credentials of a registry or an endpoint. An entry has one kind of them.

internal import OCI

enum AuthDecoder {
    static func key<Target>(_ assign: @escaping (inout Target, RegistryAuth?) -> Void) -> ConfigKey<Target> {
        ConfigKey(name: "auth", children: keys.flatMap(\.paths)) { value, target throws(Refusal) in
            var draft = Draft()
            try value.decode(keys, into: &draft)
            assign(&target, auth(draft, at: value))
        }
    }

    private struct Draft {
        var user: String?
        var password: String?
        var passwordFromEnv: String?
        var passwordFile: String?
        var tokenRealm: String?
        var token = TokenDraft()
    }

    private struct TokenDraft {
        var provider: String?
        var options = ECRProviderOptions()
        var expiryMilliseconds: UInt64?
        var fixed: Secret?
    }

    private static var keys: [ConfigKey<Draft>] {
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
            .init(name: "passwordFile") { value, draft throws(Refusal) in
                try value.assignFile(.password, to: &draft.passwordFile)
            },
            .init(name: "tokenRealm") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.tokenRealm, to: &draft.tokenRealm)
            },
            .init(name: "token", children: tokenKeys.flatMap(\.paths)) { value, draft throws(Refusal) in
                try value.decode(tokenKeys, into: &draft.token)
            },
        ]
    }

    private static var tokenKeys: [ConfigKey<TokenDraft>] {
        [
            .init(name: "provider") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.tokenProvider, to: &draft.provider)
            },
            .init(name: "providerOpts") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ECRProviderOptions.init, to: &draft.options)
            },
            .init(name: "expiry") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.tokenExpiry, to: &draft.expiryMilliseconds)
            },
            .init(name: "static") { value, draft throws(Refusal) in
                try value.assignUnlessEmpty(ConfigRules.token, to: &draft.fixed)
            },
        ]
    }

    /// Nil when no credentials are set, or when they are invalid; invalid ones are reported.
    private static func auth(_ draft: Draft, at value: ConfigValue) -> RegistryAuth? {
        let token = value.child("token")
        let (isStatic, isProvided) = (token?.isSet("static") ?? false, token?.isSet("provider") ?? false)
        let isUser = value.isSet("user")
        if isUser, isStatic || isProvided {
            token?.report("user is set too; only one kind of credentials can be")
            return nil
        }
        if isStatic, isProvided {
            token?.child("static")?.report("provider is set too; only one kind of credentials can be")
            return nil
        }
        if let orphan = orphan(in: value, token, isUser: isUser, isProvided: isProvided, isStatic: isStatic) {
            orphan.value.report("needs \(orphan.needed)")
            return nil
        }
        if isUser { return password(draft, at: value) }
        if let fixed = draft.token.fixed { return RegistryAuth(.token(fixed), tokenRealm: draft.tokenRealm) }
        guard draft.token.provider != nil else { return nil }
        var settings = ECRSettings()
        settings.options = draft.token.options
        if let expiry = draft.token.expiryMilliseconds { settings.expiryMilliseconds = expiry }
        return RegistryAuth(.ecr(settings), tokenRealm: draft.tokenRealm)
    }

    /// A key that means nothing without another one.
    private static func orphan(
        in value: ConfigValue, _ token: ConfigValue?, isUser: Bool, isProvided: Bool, isStatic: Bool
    ) -> (value: ConfigValue, needed: String)? {
        if !isUser {
            for name in ["password", "passwordFromEnv", "passwordFile"] where value.isSet(name) {
                if let child = value.child(name) { return (child, "auth.user") }
            }
        }
        if !isUser, !isProvided, !isStatic, value.isSet("tokenRealm"), let child = value.child("tokenRealm") {
            return (child, "auth.user or auth.token")
        }
        guard !isProvided, let token else { return nil }
        for name in ["providerOpts", "expiry"] where token.isSet(name) {
            // The reference's documents write the key beside a static token.
            if let child = token.child(name), !(name == "expiry" && isStatic) { return (child, "provider") }
        }
        return nil
    }

    private static func password(_ draft: Draft, at value: ConfigValue) -> RegistryAuth? {
        let given = ["password", "passwordFromEnv", "passwordFile"].filter(value.isSet)
        guard let first = given.first else {
            value.child("user")?.report("needs auth.password, auth.passwordFromEnv or auth.passwordFile")
            return nil
        }
        if given.count > 1 {
            value.child(given[1])?.report("\(first) is set too; only one of them can be")
            return nil
        }
        guard let user = draft.user else { return nil }
        if let path = draft.passwordFile {
            return RegistryAuth(.passwordFile(user: user, path: path), tokenRealm: draft.tokenRealm)
        }
        let fromVariable = draft.passwordFromEnv.flatMap { variable in
            value.child("passwordFromEnv").flatMap { password(fromVariable: variable, at: $0) }
        }
        guard let password = draft.password ?? fromVariable else { return nil }
        var auth = RegistryAuth(user: user, password: Secret(password), tokenRealm: draft.tokenRealm)
        if fromVariable != nil { auth.passwordVariable = draft.passwordFromEnv }
        return auth
    }

    private static func password(fromVariable variable: String, at value: ConfigValue) -> String? {
        guard let password = value.reader.secret(variable) else {
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

extension ConfigRules {
    /// The providers of tokens: those of the reference.
    static func tokenProvider(_ text: String) throws(Refusal) -> String {
        guard text == "ecr" else { throw Refusal("must be ecr, not \(shown(text))") }
        return text
    }

    /// How long a provided token is used: a minute to the 12 hours that ECR's are good for. The reference's 0 means its
    /// default.
    static func tokenExpiry(_ text: String) throws(Refusal) -> UInt64? {
        if text == "0" || text == "0s" { return nil }
        let milliseconds = UInt64(clamping: try Age(text).nanoseconds / 1_000_000)
        guard (60_000...12 * 3_600_000).contains(milliseconds) else {
            throw Refusal("must be from 1m to 12h, not \(shown(text))")
        }
        return milliseconds
    }
}
