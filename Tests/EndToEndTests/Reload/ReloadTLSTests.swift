// Authorities, certificates and keys are read again by a reload, also where their names stay the same.

import Foundation
import TestSupport
import Testing

@testable import Registry

@Suite(.needs(.openssl, .nginx)) struct ReloadTLSTests {
    private let certificates: TestCertificates
    private let nginx: ReverseProxy
    private let scene: ReloadScene

    /// nginx answers with what it knows of the client's certificate. It keeps connections open.
    init() throws {
        let certificates = try TestCertificates()
        self.certificates = certificates
        nginx = try ReverseProxy.nginx { address in
            """
            server {
                listen \(address) ssl;
                ssl_certificate \(certificates.file("server.pem"));
                ssl_certificate_key \(certificates.file("server.key"));
                ssl_client_certificate \(certificates.file("ca.pem"));
                ssl_verify_client optional;
                keepalive_timeout 600s;
                default_type application/json;
                location / {
                    return 200 '{"name":"team/app","tags":["$ssl_client_s_dn","$connection","$ssl_session_reused"]}';
                }
            }
            """
        }
        scene = try ReloadScene()
    }

    private func put(_ source: String, as name: String) throws {
        try scene.files.write(try String(contentsOfFile: certificates.file(source), encoding: .utf8), to: name)
    }

    private func yaml(_ more: String = "") -> String {
        """
        registries:
        - name: registry.test
          endpoint: https://\(nginx.address)
          tls: {ca: \(scene.files.file("ca.pem"))\(more)}

        """
    }

    /// The status of a list of tags, and nginx's words in it. Lists are cached, so each time it is another one.
    private func ask() -> (status: Int, words: [String]) {
        let response = scene.ask(.get("/v2/registry.test/team/app\(UInt32.random(in: .min ... .max))/tags/list"))
        let text = String(decoding: response.body, as: UTF8.self)
        let list = (text.components(separatedBy: "\"tags\":[").last ?? "").prefix { $0 != "]" }
        return (response.status, list.components(separatedBy: "\"").filter { !$0.isEmpty && $0 != "," })
    }

    @Test("an authority that is no longer in its file is not trusted after a reload, on no connection")
    func authority() throws {
        try put("ca.pem", as: "ca.pem")
        try scene.use(yaml())
        let first = ask()
        #expect(first.status == 200)
        #expect(ask().words == first.words, "the connection is reused")
        try put("stranger.pem", as: "ca.pem")
        #expect(ask().words == first.words, "a connection that was verified stays in use")
        try scene.use(yaml())
        #expect(ask().status == 503)
        // The file is read for each connection, so a corrected one needs no reload.
        try put("ca.pem", as: "ca.pem")
        let second = ask()
        #expect(second.status == 200 && second.words != first.words)
        try put("stranger.pem", as: "ca.pem")
        // A file with a problem is refused, and the connections stay.
        try scene.files.write("nothing", to: "ca.pem")
        let refused = try scene.reload(yaml())
        #expect(refused.status == 1 && refused.errors.contains("holds no PEM certificate"), "\(refused)")
        #expect(ask().words == second.words)
        try scene.close()
    }

    @Test("a client certificate with a new content is used after a reload") func clientCertificate() throws {
        try put("ca.pem", as: "ca.pem")
        try put("client.pem", as: "cert.pem")
        try put("client.key", as: "key.pem")
        let more = ", cert: \(scene.files.file("cert.pem")), key: \(scene.files.file("key.pem"))"
        try scene.use(yaml(more))
        #expect(ask().words.first == "CN=client")
        try put("other.pem", as: "cert.pem")
        try put("other.key", as: "key.pem")
        #expect(ask().words.first == "CN=client", "the connection stays")
        try scene.use(yaml(more))
        let renewed = ask()
        #expect(renewed.words.first == "CN=other")
        #expect(renewed.words.last == ".", "no TLS session of the former certificate is resumed")
        try scene.close()
    }
}
