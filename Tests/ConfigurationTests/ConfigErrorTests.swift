// Every way in which a configuration file can be wrong, with the exact line that is printed.

import Testing

@testable import Configuration

@Suite struct ConfigErrorTests {
    @Test(arguments: [
        ("port: 65536", #"c.yaml:1: port: must be a port from 1 to 65535, or 0 for any free one, not "65536""#),
        ("port: -1", #"c.yaml:1: port: must be a port from 1 to 65535, or 0 for any free one, not "-1""#),
        ("port: 0x50", #"c.yaml:1: port: must be a port from 1 to 65535, or 0 for any free one, not "0x50""#),
        ("port: ''", #"c.yaml:1: port: must be a port from 1 to 65535, or 0 for any free one, not """#),
        ("\nport: [1]", "c.yaml:2: port: must be a single value, not a list"),
        ("logLevel: loud", #"c.yaml:1: logLevel: must be debug, info, warn or error, not "loud""#),
        ("logFile: {a: b}", "c.yaml:1: logFile: must be a single value, not a mapping"),
        (#"imagePath: "a\0b""#, "c.yaml:1: imagePath: holds a control character"),
        ("airGapped: yes", #"c.yaml:1: airGapped: must be true or false, not "yes""#),
        ("pullTimeout: 0", #"c.yaml:1: pullTimeout: must be milliseconds from 1 to 86400000, not "0""#),
        ("pullTimeout: 60s", #"c.yaml:1: pullTimeout: must be milliseconds from 1 to 86400000, not "60s""#),
        ("pullTimeout: 86400001", #"c.yaml:1: pullTimeout: must be milliseconds from 1 to 86400000, not "86400001""#),
        ("host: example.com", #"c.yaml:1: host: must be an IPv4 or IPv6 address or localhost, not "example.com""#),
        ("host: '[127.0.0.1]'", #"c.yaml:1: host: must be an IPv4 or IPv6 address or localhost, not "[127.0.0.1]""#),
        ("defaultNs: a/b", #"c.yaml:1: defaultNs: must be a registry host[:port], not "a/b""#),
        (
            "prefetchLayers: layers",
            "c.yaml:1: prefetchLayers: must be manifest, layer or never (or true for layer, false for never), "
                + #"not "layers""#
        ),
        ("privateUpstreams: no", #"c.yaml:1: privateUpstreams: must be allow or deny, not "no""#),
        ("privateUpstreams: Deny", #"c.yaml:1: privateUpstreams: must be allow or deny, not "Deny""#),
        ("prefetchlayer: true", "c.yaml:1: prefetchlayer: unknown key; did you mean prefetchLayers?"),
        ("frobnicate: true", "c.yaml:1: frobnicate: unknown key"),
        ("serverTlsConfig: true", "c.yaml:1: serverTlsConfig: must be a mapping of keys to values"),
        ("- a", "c.yaml:1: must be a mapping of keys to values"),
        ("port: 1\nport: 2", "c.yaml:2: key port is here twice, first on line 1"),
    ])
    func refusals(_ yaml: String, _ printed: String) {
        #expect(complaint(yaml) == printed)
    }

    @Test(arguments: [
        ("registries: {name: x}", "c.yaml:1: registries: must be a list"),
        ("registries: [x]", "c.yaml:1: registries[0]: must be a mapping of keys to values"),
        ("registries: [{scheme: http}]", "c.yaml:1: registries[0]: needs a name, the host of image references"),
        ("registries: [{name: a/b}]", #"c.yaml:1: registries[0].name: must be a registry host[:port], not "a/b""#),
        (
            "registries:\n- name: docker.io\n- name: registry-1.docker.io",
            "c.yaml:3: registries[1].name: docker.io is configured already, by registries[0]"
        ),
        ("registries: [{name: x.y, sheme: http}]", "c.yaml:1: registries[0].sheme: unknown key; did you mean scheme?"),
        ("registries: [{name: x.y, scheme: s}]", #"c.yaml:1: registries[0].scheme: must be https or http, not "s""#),
        (
            "registries: [{name: x.y, sendNamespace: maybe}]",
            #"c.yaml:1: registries[0].sendNamespace: must be true or false, not "maybe""#
        ),
        (
            "registries:\n- name: x.y\n  scheme: https\n  endpoint: http://a.b",
            "c.yaml:4: registries[0].endpoint: begins with http, but scheme is https"
        ),
        (
            "registries: [{name: x.y, endpoint: 'https://u:p@a.b'}]",
            "c.yaml:1: registries[0].endpoint: must not hold a user or password; they belong under auth"
        ),
        (
            "registries: [{name: x.y, endpoint: 'https://a.b/?x'}]",
            "c.yaml:1: registries[0].endpoint: must be https://host[:port] or http://host[:port], "
                + #"with a path or without, not "https://a.b/?x""#
        ),
    ])
    func registryRefusals(_ yaml: String, _ printed: String) {
        #expect(complaint(yaml) == printed)
    }

    @Test(
        "wrong or incomplete credentials of a registry are refused with the key at fault",
        arguments: [
            ("{user: u}", "user: needs auth.password, auth.passwordFromEnv or auth.passwordFile"),
            ("{user: '', password: p}", "password: needs auth.user"),
            ("{passwordFromEnv: SET}", "passwordFromEnv: needs auth.user"),
            ("{tokenRealm: a.b}", "tokenRealm: needs auth.user or auth.token"),
            ("{user: 'a:b', password: p}", "user: must not hold a colon"),
            (#"{user: "a\nb", password: p}"#, "user: holds a control character"),
            (
                "{user: u, password: p, passwordFromEnv: SET}",
                "passwordFromEnv: password is set too; only one of them can be"
            ),
            (
                "{user: u, passwordFromEnv: UNSET}",
                "passwordFromEnv: the environment variable UNSET is not set, or empty"
            ),
            (
                "{user: u, passwordFromEnv: EMPTY}",
                "passwordFromEnv: the environment variable EMPTY is not set, or empty"
            ),
            (
                "{user: u, passwordFromEnv: BAD}",
                "passwordFromEnv: the environment variable BAD holds a control character"
            ),
            (
                "{user: u, password: p, tokenRealm: 'http://a.b/token'}",
                "tokenRealm: must be host[:port] or an https URL of the token realm"
            ),
            (
                "{user: u, password: p, token: {static: t}}",
                "token: user is set too; only one kind of credentials can be"
            ),
            (
                "{token: {static: t, provider: ecr}}",
                "token.static: provider is set too; only one kind of credentials can be"
            ),
            ("{token: {provider: gcr}}", #"token.provider: must be ecr, not "gcr""#),
            ("{token: {providerOpts: 'profile=a'}}", "token.providerOpts: needs provider"),
            ("{passwordFile: /etc/passwd}", "passwordFile: needs auth.user"),
            (
                "{user: u, passwordFile: /nowhere/pw}",
                "passwordFile: /nowhere/pw: cannot be read: No such file or directory"
            ),
        ])
    func authRefusals(_ auth: String, _ printed: String) {
        let environment = ["SET": "p", "EMPTY": "", "BAD": "a\r\nb"]
        #expect(
            complaint("registries:\n- name: x.y\n  auth: \(auth)", environment: environment)
                == "c.yaml:3: registries[0].auth.\(printed)")
    }

    @Test(
        "wrong TLS settings of a registry are refused with the key at fault",
        arguments: [
            ("{ca: /nowhere/ca.crt}", "ca: /nowhere/ca.crt: cannot be read: No such file or directory"),
            ("{ca: /}", "ca: /: not a file"),
            ("{cert: /etc/passwd}", "cert: needs tls.key, the certificate's private key"),
            ("{key: /etc/passwd}", "key: needs tls.cert, the certificate it belongs to"),
            ("{insecureSkipVerify: 1}", #"insecureSkipVerify: must be true or false, not "1""#),
        ])
    func tlsRefusals(_ tls: String, _ printed: String) {
        #expect(complaint("registries:\n- name: x.y\n  tls: \(tls)") == "c.yaml:3: registries[0].tls.\(printed)")
    }

    @Test(
        "a setting that is not supported yet is refused instead of ignored",
        arguments: [
            ("serverTlsConfig: {cert: c, key: k}", "serverTlsConfig"),
            ("serverTlsConfig: {clientAuth: verify}", "serverTlsConfig"),
        ])
    func unsupportedSettings(_ yaml: String, _ key: String) {
        #expect(complaint(yaml) == "c.yaml:1: \(key): not built yet; leave it empty or take it out to start the server")
    }

    @Test("a misspelled key in a nested mapping is refused with a suggestion") func misspelledKeys() {
        #expect(
            complaint("pruneConfig: {enabeld: false}")
                == "c.yaml:1: pruneConfig.enabeld: unknown key; did you mean enabled?")
    }

    @Test("all problems of a file are reported in line order") func problemOrder() {
        let yaml = "registries:\n- name: a/b\n- name: x.y\n  auth: {user: u}\nport: x\nairgapped: true\n"
        #expect(
            complaint(yaml) == """
                c.yaml:2: registries[0].name: must be a registry host[:port], not "a/b"
                c.yaml:4: registries[1].auth.user: needs auth.password, auth.passwordFromEnv or auth.passwordFile
                c.yaml:5: port: must be a port from 1 to 65535, or 0 for any free one, not "x"
                c.yaml:6: airgapped: unknown key; did you mean airGapped?
                """)
    }

    @Test("an unreadable configuration file is reported without a line number") func missingFile() {
        #expect(
            throws: ConfigError(problems: [
                .init(file: "/nowhere/c.yaml", line: nil, key: "", reason: "cannot be read: No such file or directory")
            ])
        ) { try ConfigDecoder.load(path: "/nowhere/c.yaml") { _ in nil } }
        #expect(complaintOfLoading("/") == "/: cannot be read: Is a directory")
    }

    private func complaintOfLoading(_ path: String) -> String {
        do throws(ConfigError) {
            _ = try ConfigDecoder.load(path: path) { _ in nil }
            return ""
        } catch {
            return error.description
        }
    }

    @Test("the error about an invalid password does not contain it") func invalidPasswords() {
        for value in [#""hunter2\n""#, "[hunter2]", "{hunter2: x}"] {
            let printed = complaint("registries: [{name: x.y, auth: {user: u, password: \(value)}}]")
            #expect(!printed.isEmpty && !printed.contains("hunter2"))
        }
    }

    @Test("a truncated or damaged file is decoded or refused, without a crash") func damagedFiles() {
        let whole = Array("registries:\n- {name: \"x.y\", auth: {user: &a u, password: 'p'}}\nport: 80 # c\n".utf8)
        for end in whole.indices { _ = try? ConfigDecoder.decode(yaml: Array(whole[..<end]), file: "c") { _ in nil } }
        for index in whole.indices {
            for byte in [0x00, 0x0A, 0x09, 0x22, 0x2D, 0x3A, 0x5B, 0x7B, 0x80, 0xFF] as [UInt8] {
                var changed = whole
                changed[index] = byte
                _ = try? ConfigDecoder.decode(yaml: changed, file: "c") { _ in nil }
            }
        }
    }
}
