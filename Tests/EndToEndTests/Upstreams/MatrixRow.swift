// The kinds of upstreams and credentials of the matrix: each is real servers, and the configuration to reach them.

import Foundation
import TestSupport

@testable import OCI

/// An upstream that wants credentials, and where this server has them from.
enum MatrixRow: String, CaseIterable, Sendable {
    case password, passwordFile, tokenService, staticToken, identityToken
    case privateAuthority, clientCertificate, path
    case dockerLogin, credentialHelper, credentialStore
}

/// A row with its servers running. `registry.test` is its name.
final class MatrixUpstream {
    /// Below the name in `registries`.
    private(set) var entry = ""
    private(set) var settings = ""
    private(set) var environment: [String: String] = [:]

    static let image = FakeImage(seed: 31)
    static let repository = "team/app"
    static let tags = (0..<40).map { "v\($0)" }
    private static let user = "me"
    private static let rightSecret = "right-s3cret"
    private static let wrongSecret = "wr0ng-s3cret"

    private static let storage = Result {
        let storage = try RegistryStorage()
        try storage.add(image, repository: repository, tags: tags)
        return storage
    }

    private let files: TemporaryDirectory
    private let row: MatrixRow
    /// What the server is given: the right secret, or another one.
    private let secret: String
    private let registry: DockerRegistry
    private var tokens: TokenService?
    private var proxy: ReverseProxy?

    init(_ row: MatrixRow, isRight: Bool, on run: LoopRun) throws {
        self.row = row
        files = try TemporaryDirectory()
        secret = isRight ? Self.rightSecret : Self.wrongSecret
        let authority: String
        switch row {
        case .tokenService, .staticToken, .identityToken:
            let tokens = try TokenService(on: run, secret: Self.rightSecret, repository: Self.repository)
            self.tokens = tokens
            authority = tokens.settings
        case .clientCertificate: authority = ""
        default:
            let line = try Htpasswd.line(user: Self.user, password: Self.rightSecret)
            authority = "auth: {htpasswd: {realm: matrix, path: \"\(try files.write(line, to: "htpasswd"))\"}}"
        }
        registry = try DockerRegistry(storing: Self.storage.get().path, settings: authority)
        try configure(isRight: isRight)
    }

    private func configure(isRight: Bool) throws {
        let plain = "endpoint: http://\(registry.address)"
        let password = "auth: {user: \(Self.user), password: \(secret)}"
        switch row {
        case .password, .tokenService: entry = "\(plain)\n  \(password)"
        case .passwordFile:
            let path = try files.write("\(secret)\n", to: "password")
            entry = "\(plain)\n  auth: {user: \(Self.user), passwordFile: \"\(path)\"}"
        case .staticToken:
            let token = isRight ? tokens?.token ?? "" : secret
            entry = "\(plain)\n  auth: {token: {static: \"\(token)\"}}"
        case .identityToken:
            entry = plain
            try useDockerConfig("\"auths\": {\"\(registry.address)\": {\"identitytoken\": \"\(secret)\"}}")
        case .dockerLogin:
            entry = plain
            let login = Base64.encode("\(Self.user):\(secret)")
            try useDockerConfig("\"auths\": {\"\(registry.address)\": {\"auth\": \"\(login)\"}}")
        case .credentialHelper:
            entry = plain
            try useHelper("\"credHelpers\": {\"\(registry.address)\": \"matrix\"}")
        case .credentialStore:
            entry = plain
            try useHelper("\"auths\": {\"\(registry.address)\": {}}, \"credsStore\": \"matrix\"")
        case .path:
            let registry = registry.address
            let place = "/artifactory/api/docker/hub/v2/"
            let proxy = try ReverseProxy.nginx { address in
                "server { listen \(address); location \(place) { proxy_pass http://\(registry)/v2/; } }"
            }
            self.proxy = proxy
            entry = "endpoint: http://\(proxy.address)\(place)\n  \(password)"
        case .privateAuthority:
            let certificates = try TestCertificates()
            let proxy = try nginx(certificates, "")
            entry =
                "endpoint: https://\(proxy.address)\n  \(password)\n  tls: {ca: \"\(try kept(certificates, "ca"))\"}"
        case .clientCertificate:
            let certificates = try TestCertificates()
            let check =
                "ssl_client_certificate \(certificates.file("ca.pem")); ssl_verify_client optional_no_ca;\n"
                + "if ($ssl_client_verify != SUCCESS) { return 403; }"
            let proxy = try nginx(certificates, check)
            // Another authority's certificate is a wrong one.
            let client = isRight ? "client" : "stranger"
            entry = "endpoint: https://\(proxy.address)\n  tls:"
            for (key, name) in [("ca", "ca.pem"), ("cert", "\(client).pem"), ("key", "\(client).key")] {
                entry += "\n    \(key): \"\(try kept(certificates, name: name))\""
            }
        }
    }

    /// nginx with TLS in front of the registry.
    private func nginx(_ certificates: TestCertificates, _ settings: String) throws -> ReverseProxy {
        let (registry, certificate, key) = (
            registry.address, certificates.file("server.pem"), certificates.file("server.key")
        )
        let proxy = try ReverseProxy.nginx { address in
            """
            server {
              listen \(address) ssl; ssl_certificate \(certificate); ssl_certificate_key \(key);
              \(settings)
              location / {
                proxy_pass http://\(registry); proxy_set_header Host $http_host;
                proxy_set_header X-Forwarded-Proto https;
              }
            }
            """
        }
        self.proxy = proxy
        return proxy
    }

    /// A copy of a certificate, which exists for as long as this.
    private func kept(_ certificates: TestCertificates, _ name: String) throws -> String {
        try kept(certificates, name: "\(name).pem")
    }

    private func kept(_ certificates: TestCertificates, name: String) throws -> String {
        try files.write(String(contentsOfFile: certificates.file(name), encoding: .utf8), to: "tls/\(name)")
    }

    private func useDockerConfig(_ members: String) throws {
        settings = "dockerConfig: \"\(try files.write("{\(members)}", to: "docker.json"))\"\n"
    }

    /// A helper that notes each run, and gives the secret for the registry's own address.
    private func useHelper(_ members: String) throws {
        let script = """
            #!/bin/sh
            read -r server; echo "$1 $server" >>"\(files.file("helper.log"))"
            echo '{"ServerURL":"'"$server"'","Username":"\(Self.user)","Secret":"\(secret)"}'

            """
        let path = try files.write(script, to: "bin/docker-credential-matrix")
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
        environment = ["PATH": "\(files.file("bin")):\(ProcessInfo.processInfo.environment["PATH"] ?? "")"]
        try useDockerConfig(members)
    }

    /// Lines of the helper, one for each run: what it was asked.
    var helperRuns: [String] {
        let log = try? String(contentsOfFile: files.file("helper.log"), encoding: .utf8)
        return (log ?? "").split(separator: "\n").map(String.init)
    }

    /// The registry's address, which the helper is asked about.
    var address: String { registry.address }

    /// Stops the registry, and returns how often the login was refused. Nil where there is no login.
    func stop() throws -> Int? {
        try registry.stop()
        switch row {
        case .clientCertificate: return nil
        case .tokenService, .identityToken: return tokens?.refusals
        case .staticToken: return registry.count(of: "error authorizing context: malformed token")
        default: return registry.count(of: "error authenticating user")
        }
    }
}
