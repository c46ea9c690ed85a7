// Docker's `config.json` and the `auth.json` of podman and skopeo: which credentials, or which helper program, a
// registry has there. Pure.
//
// Sources: docker/cli cli/config/configfile/file.go and cli/config/credentials; containers-auth.json(5).

internal import Configuration
internal import FoundationEssentials
package import OCI

/// A parsed file. An invalid entry is reported only to those that look it up.
package struct DockerConfig: Sendable {
    /// Where a registry's credentials are.
    package enum Entry: Sendable, Equatable {
        case credentials(UpstreamCredentials)
        /// The program `docker-credential-<name>`, which gets `serverURL` on its standard input.
        case helper(name: String, serverURL: String)
    }

    /// Largest file accepted, in bytes: a thousand entries with tokens of a kilobyte.
    package static let maximumBytes = 1024 * 1024
    /// Longest password or token accepted, in bytes: that of a token service's token.
    package static let maximumSecretBytes = TokenReply.maximumBytes
    /// Longest name of a helper: with `docker-credential-` it fits in a file name (255 bytes).
    static let maximumHelperBytes = 200

    /// Keys of `auths` and `credHelpers` that name no whole registry, such as `quay.io/team`. They are not used.
    package let ignoredKeys: [String]
    private let auths: [RegistryHost: Keyed<Auth>]
    private let helpers: [RegistryHost: Keyed<String>]
    private let store: String?

    /// A value and the key that it was found under.
    fileprivate struct Keyed<Value: Sendable>: Sendable {
        let key: String
        let value: Lenient<Value>
    }

    /// - Throws: when the file as a whole cannot be used. The reason holds none of its text.
    package init(_ bytes: [UInt8]) throws(CredentialFailure) {
        guard bytes.count <= DockerConfig.maximumBytes else {
            throw CredentialFailure("larger than \(DockerConfig.maximumBytes / 1024) KiB")
        }
        let document: Document
        if bytes.allSatisfy(DockerConfig.isSpace) {
            // Docker accepts an empty file.
            document = Document(auths: nil, credHelpers: nil, credsStore: nil)
        } else {
            guard let decoded = try? JSONDecoder().decode(Document.self, from: Data(bytes)) else {
                throw CredentialFailure("not the JSON of a docker configuration")
            }
            document = decoded
        }
        var ignored: [String] = []
        auths = DockerConfig.byHost(document.auths, &ignored)
        helpers = DockerConfig.byHost(document.credHelpers, &ignored)
        store = document.credsStore
        ignoredKeys = ignored.sorted()
    }

    /// The helper of `credHelpers` goes first, then an entry of `auths` with content, then `credsStore`. An empty name
    /// in `credHelpers` turns `credsStore` off for its registry, as in docker.
    /// - Throws: when the registry's entry is invalid. The reason names its key only.
    package func lookup(_ host: RegistryHost) throws(CredentialFailure) -> Entry? {
        if let helper = helpers[host] {
            guard case .valid(let name) = helper.value else { throw helper.failure("not a text") }
            if !name.isEmpty { return try DockerConfig.helper(name, host, "credHelpers") }
        }
        if let auth = auths[host] {
            guard case .valid(let value) = auth.value else { throw auth.failure("not an object of texts") }
            do throws(Invalid) {
                if let credentials = try value.credentials() { return .credentials(credentials) }
            } catch {
                throw auth.failure(error.reason)
            }
        }
        guard helpers[host] == nil, let store, !store.isEmpty else { return nil }
        return try DockerConfig.helper(store, host, "credsStore")
    }

    /// Why entries are invalid, each with its key.
    package var problems: [String] {
        Set(auths.keys).union(helpers.keys).sorted { $0.text < $1.text }.compactMap { host in
            do throws(CredentialFailure) { _ = try lookup(host) } catch { return error.reason }
            return nil
        }
    }

    /// What docker calls the registry: the key of `docker login`, and the input of a helper.
    static func serverURL(_ host: RegistryHost) -> String {
        host.isDockerHub ? "https://index.docker.io/v1/" : host.text
    }

    private static func helper(
        _ name: String, _ host: RegistryHost, _ key: String
    ) throws(CredentialFailure) -> Entry {
        let isValid = name.utf8.allSatisfy {
            ASCII.isLetter($0) || ASCII.isDigit($0) || $0 == 0x2E || $0 == 0x5F || $0 == 0x2D
        }
        // Docker starts whatever the name says, so a slash would start any file.
        guard isValid, name.utf8.count <= maximumHelperBytes else {
            throw CredentialFailure("\(key): the name of the helper may have letters, digits, '.', '_' and '-' only")
        }
        return .helper(name: name, serverURL: serverURL(host))
    }

    // MARK: Keys

    /// Of several keys for one host, docker's own goes first, then the plain host.
    private static func byHost<Value>(
        _ entries: [String: Lenient<Value>]?, _ ignored: inout [String]
    ) -> [RegistryHost: Keyed<Value>] {
        var found: [RegistryHost: Keyed<Value>] = [:]
        for (key, value) in (entries ?? [:]).sorted(by: { $0.key < $1.key }) {
            guard let host = host(ofKey: key) else {
                ignored.append(shown(key))
                continue
            }
            if let other = found[host], rank(other.key, host) <= rank(key, host) { continue }
            found[host] = Keyed(key: shown(key), value: value)
        }
        return found
    }

    private static func rank(_ key: String, _ host: RegistryHost) -> Int {
        if key == serverURL(host) { return 0 }
        return key == host.text ? 1 : 2
    }

    /// The registry that a key names. Docker's old keys are URLs whose path says nothing; without a scheme, a path is a
    /// namespace, which containers' tools use.
    static func host(ofKey key: String) -> RegistryHost? {
        var rest = key[...]
        let scheme = ["https://", "http://"].first { rest.hasPrefix($0) }
        rest = rest.dropFirst(scheme?.count ?? 0)
        let parts = rest.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let name = parts.first else { return nil }
        let path = parts.count > 1 ? parts[1] : ""
        guard scheme != nil || ["", "v1", "v1/", "v2", "v2/"].contains(path) else { return nil }
        return RegistryHost(String(name))
    }

    /// Longest part of a key that is shown.
    private static let shownKeyCharacters = 255

    /// A key for the log: without user information, which somebody may have put into a URL.
    private static func shown(_ key: String) -> String {
        let visible = key.utf8.lastIndex(of: 0x40).map { "***" + key[$0...] } ?? key
        return String(visible.prefix(shownKeyCharacters))
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

    // MARK: The file's form

    /// Members that are not used are not decoded, so that they may have any form.
    private struct Document: Decodable {
        let auths: [String: Lenient<Auth>]?
        let credHelpers: [String: Lenient<String>]?
        let credsStore: String?
    }

    /// An entry that may be invalid without making the others invalid.
    fileprivate enum Lenient<Value: Sendable>: Sendable {
        case valid(Value)
        case invalid
    }

    private struct Invalid: Error { let reason: String }

    private struct Auth: Decodable, Sendable {
        let auth: String?
        let username: String?
        let password: String?
        let identitytoken: String?
        let registrytoken: String?

        /// Nil when it is empty, as docker leaves entries whose credentials are in a store. A registry token goes
        /// before an identity token, and that before a password, as in docker.
        func credentials() throws(Invalid) -> UpstreamCredentials? {
            if let token = registrytoken, !token.isEmpty {
                try Auth.check(token, "registrytoken")
                // It becomes part of a header line.
                guard token.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
                    throw Invalid(reason: "registrytoken holds characters that no header can carry")
                }
                return .bearer(Secret(token))
            }
            if let token = identitytoken, !token.isEmpty {
                try Auth.check(token, "identitytoken")
                return .identityToken(Secret(token))
            }
            if let auth, !auth.isEmpty { return try Auth.decode(auth) }
            let (user, secret) = (username ?? "", password ?? "")
            if user.isEmpty && secret.isEmpty { return nil }
            guard UpstreamCredentials.isUser(user) else {
                throw Invalid(reason: "username is empty, or has a colon or a control character")
            }
            try Auth.check(secret, "password")
            return .password(user: user, Secret(secret))
        }

        /// `base64(user:password)`; the password may have colons. Docker's encoder once added NULs, and docker removes
        /// them.
        private static func decode(_ text: String) throws(Invalid) -> UpstreamCredentials {
            let lines = text.utf8.filter { $0 != 0x0A && $0 != 0x0D }
            guard let data = Data(base64Encoded: String(decoding: lines, as: UTF8.self)) else {
                throw Invalid(reason: "auth is not base64")
            }
            guard let pair = String(validating: data, as: UTF8.self), let colon = pair.utf8.firstIndex(of: 0x3A) else {
                throw Invalid(reason: "auth is not the base64 of user:password")
            }
            let user = String(pair[..<colon])
            guard UpstreamCredentials.isUser(user) else {
                throw Invalid(reason: "the user in auth is empty or has a control character")
            }
            var secret = Substring(pair[pair.utf8.index(after: colon)...]).utf8
            while secret.first == 0 { secret.removeFirst() }
            while secret.last == 0 { secret.removeLast() }
            let password = String(Substring(secret))
            try check(password, "the password in auth")
            return .password(user: user, Secret(password))
        }

        private static func check(_ secret: String, _ name: String) throws(Invalid) {
            guard secret.utf8.count <= DockerConfig.maximumSecretBytes else {
                throw Invalid(reason: "\(name) is larger than \(DockerConfig.maximumSecretBytes / 1024) KiB")
            }
        }
    }
}

extension DockerConfig.Keyed {
    fileprivate func failure(_ reason: String) -> CredentialFailure { CredentialFailure("entry \(key): \(reason)") }
}

extension DockerConfig.Lenient: Decodable where Value: Decodable {
    fileprivate init(from decoder: any Decoder) {
        self = (try? Value(from: decoder)).map { .valid($0) } ?? .invalid
    }
}

extension UpstreamCredentials {
    /// Whether basic authentication can carry the user's name (RFC 7617 §2).
    static func isUser(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F && $0 != 0x3A }
    }
}
