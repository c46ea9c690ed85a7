// Fuzzes docker's configuration file, the output of credential helpers, and the errors of token services.

import Configuration
import OCI
import Registry

enum CredentialEntries {
    private static let hosts = ["docker.io", "a.test", "a.test:5000"].compactMap { RegistryHost($0) }

    /// The input is all three of them.
    static func docker(_ bytes: UnsafeRawBufferPointer) {
        let input = Array(bytes)
        if let config = try? DockerConfig(input) {
            for host in hosts {
                switch try? config.lookup(host) {
                case .credentials(let credentials)?: look(at: credentials)
                case .helper(let name, let server)?:
                    require(!name.isEmpty && !name.utf8.contains(0x2F) && !name.utf8.contains(0), "a helper \(name)")
                    require(!server.isEmpty, "no server")
                case nil: break
                }
            }
            require(config.ignoredKeys.allSatisfy { $0.count <= 255 }, "a long key")
        }
        if let credentials = try? CredentialHelperReply.decode(input) { look(at: credentials) }
        _ = CredentialHelperReply.isNotFound(input)
        _ = IdentityTokenExchange.isTokenRefused(input)
    }

    private static func look(at credentials: UpstreamCredentials) {
        switch credentials {
        case .password(let user, let password):
            require(!user.isEmpty && !user.utf8.contains(0x3A), "a user that basic authentication cannot carry")
            require(password.revealed.utf8.count <= DockerConfig.maximumSecretBytes, "a long password")
        case .bearer(let token):
            require(token.revealed.utf8.allSatisfy { (0x21...0x7E).contains($0) }, "a token that is no field's value")
        case .identityToken(let token):
            require(!token.revealed.isEmpty, "an empty identity token")
            let form = IdentityTokenExchange.form(token, service: "s", scope: "x")
            require(form.allSatisfy { (0x21...0x7E).contains($0) }, "a form that is not encoded")
        }
    }
}
