// The output of docker's credential helpers. Pure.
//
// Source: docker/docker-credential-helpers, client/client.go and credentials/error.go.

internal import Configuration
internal import FoundationEssentials

/// What `docker-credential-<name> get` has written to its standard output.
package enum CredentialHelperReply {
    /// The user name that stands for an identity token (docker/cli, cli/config/credentials/native_store.go).
    private static let tokenUser = "<token>"
    /// What every helper writes, on its standard output, when it has nothing for the server.
    private static let notFound = "credentials not found in native keychain"

    private struct Body: Decodable {
        let Username: String?
        let Secret: String?
    }

    /// Whether a helper that has failed means that it has no credentials for the server.
    package static func isNotFound(_ output: [UInt8]) -> Bool {
        let text = output.drop(while: isSpace).reversed().drop(while: isSpace).reversed()
        return text.elementsEqual(notFound.utf8)
    }

    /// The credentials in the output of a helper that has succeeded. Nil when it holds neither user nor secret, which
    /// docker takes for anonymous as well.
    /// - Throws: the reason, without any text of the output.
    package static func decode(_ output: [UInt8]) throws(CredentialFailure) -> UpstreamCredentials? {
        guard let body = try? JSONDecoder().decode(Body.self, from: Data(output)) else {
            throw CredentialFailure("its output is not the JSON of credentials")
        }
        let (user, secret) = (body.Username ?? "", body.Secret ?? "")
        if user.isEmpty && secret.isEmpty { return nil }
        guard secret.utf8.count <= DockerConfig.maximumSecretBytes else {
            throw CredentialFailure("its secret is larger than \(DockerConfig.maximumSecretBytes / 1024) KiB")
        }
        if user == tokenUser {
            guard !secret.isEmpty else { throw CredentialFailure("its token is empty") }
            return .identityToken(Configuration.Secret(secret))
        }
        guard UpstreamCredentials.isUser(user) else {
            throw CredentialFailure("its user is empty, or has a colon or a control character")
        }
        return .password(user: user, Configuration.Secret(secret))
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
}
