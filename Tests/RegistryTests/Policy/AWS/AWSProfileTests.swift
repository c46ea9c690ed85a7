// The profile files, and the order of the sources.

import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct AWSProfileTests {
    private static func profiles(config: String? = nil, credentials: String? = nil) throws -> AWSProfiles {
        try AWSProfiles(config: config.map { Array($0.utf8) }, credentials: credentials.map { Array($0.utf8) })
    }

    private static func source(
        _ environment: [String: String] = [:], config: String? = nil, credentials: String? = nil,
        profile: String? = nil
    ) throws -> AWSSource {
        let settings = AWSSettings { environment[$0] }
        if profile == nil, let source = try AWSSourceChoice.environment(settings) { return source }
        let profiles = try profiles(config: config, credentials: credentials)
        return try AWSSourceChoice(settings: settings, profiles: profiles).profile(profile)
    }

    private static let key = "aws_access_key_id=AK\naws_secret_access_key=SE/+=\n"

    // MARK: The files

    @Test("comments, white space, case and both separators are read as the SDKs do") func format() throws {
        let profiles = try Self.profiles(
            config: """
                # a comment
                ; another
                [default] # with a comment
                Region = eu-west-1\t# not part of the value
                credential_process: /bin/x --a #b

                [ profile  two words ]
                aws_secret_access_key=a#b;c
                s3 =
                  region = nested
                [sso-session corp]
                region=us-east-1\r
                [profile two words]
                empty=
                """, credentials: "[two words]\r\naws_secret_access_key = newer\r\n")
        #expect(profiles["default"] == ["region": "eu-west-1", "credential_process": "/bin/x --a"])
        #expect(
            profiles["two words"] == [
                "aws_secret_access_key": "newer", "s3": "\nregion = nested", "empty": "",
            ])
        #expect(profiles["sso-session corp"] == nil)
        #expect(profiles["corp"] == nil)
    }

    @Test("`[profile default]` takes precedence, and `[name]` in the config file is no profile") func names() throws {
        let profiles = try Self.profiles(config: "[default]\na=1\n[profile default]\na=2\n[other]\na=3\n")
        #expect(profiles["default"] == ["a": "2"])
        #expect(profiles["other"] == nil)
    }

    @Test("a line that is nothing is refused by its number, without its text")
    func refusedLines() {
        for (text, line) in [
            ("[a]\nb = c\nSECRET\n", "line 3"), ("b = c\n", "line 1"), ("[a\n", "line 1"), ("[a]\n=SECRET", "line 2"),
        ] {
            #expect {
                _ = try Self.profiles(credentials: text)
            } throws: { error in
                "\(error)".contains(line) && !"\(error)".contains("SECRET")
            }
        }
        #expect(throws: CredentialFailure.self) {
            try Self.profiles(config: String(repeating: "#", count: AWSProfiles.maximumBytes + 1))
        }
    }

    @Test("a command is split into words without a shell") func words() {
        #expect(AWSProfiles.words("/bin/a b") == ["/bin/a", "b"])
        #expect(
            AWSProfiles.words("  \"/opt/my tool\" 'a \"b' \"c\\\"d\" e\\ f '' \"g\\h\"") == [
                "/opt/my tool", "a \"b", "c\"d", "e f", "", "g\\h",
            ])
        #expect(AWSProfiles.words("a $(b) ~ | c") == ["a", "$(b)", "~", "|", "c"])
        for text in ["", "  ", "a \"b", "a 'b", "a \\", String(repeating: "a ", count: 300)] {
            #expect(AWSProfiles.words(text) == nil, "\(text)")
        }
    }

    // MARK: The order

    @Test("the environment's key is used before everything else") func environmentFirst() throws {
        let environment = [
            "AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "S", "AWS_SESSION_TOKEN": "T", "AWS_PROFILE": "x",
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "AWS_ROLE_ARN": "arn:r",
        ]
        let key = try #require(AWSCredentials(keyID: "AK", secret: "S", sessionToken: "T"))
        #expect(try Self.source(environment) == .keys(key, origin: "the access key of the environment"))
        // A profile that the configuration names is used in place of the environment.
        let named = try Self.source(environment, credentials: "[y]\n\(Self.key)", profile: "y")
        #expect(named.name == "the access key of AWS profile y")
    }

    @Test("half a key in the environment is an error") func halfKey() {
        for environment in [["AWS_ACCESS_KEY_ID": "AK"], ["AWS_SECRET_ACCESS_KEY": "S"]] {
            #expect(throws: CredentialFailure.self) {
                try Self.source(environment, credentials: "[default]\n\(Self.key)")
            }
        }
        #expect(throws: CredentialFailure.self) {
            try Self.source(["AWS_ACCESS_KEY_ID": "A\nK", "AWS_SECRET_ACCESS_KEY": "S"])
        }
    }

    @Test("web identity, profile, container and instance follow in this order") func order() throws {
        var environment = [
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "AWS_ROLE_ARN": "arn:r", "AWS_ROLE_SESSION_NAME": "s",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x",
        ]
        #expect(try Self.source(environment) == .webIdentity(AWSRole(arn: "arn:r", sessionName: "s"), tokenFile: "/t"))
        environment["AWS_WEB_IDENTITY_TOKEN_FILE"] = ""
        let credentials = "[default]\n\(Self.key)"
        #expect(try Self.source(environment, credentials: credentials).name == "the access key of AWS profile default")
        #expect(try Self.source(environment) == .container)
        #expect(try Self.source(environment, config: "[default]\nregion=eu-west-1\n") == .container)
        environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = nil
        #expect(try Self.source(environment) == .instance)
        environment["AWS_EC2_METADATA_DISABLED"] = "TRUE"
        #expect(throws: CredentialFailure.self) { try Self.source(environment) }
    }

    @Test("a token's file without a role is an error") func tokenWithoutRole() {
        #expect(throws: CredentialFailure.self) { try Self.source(["AWS_WEB_IDENTITY_TOKEN_FILE": "/t"]) }
    }

    @Test("a named profile that does not exist is an error, the default one is not") func missingProfile() throws {
        #expect(try Self.source() == .instance)
        #expect {
            try Self.source(["AWS_PROFILE": "x"])
        } throws: {
            "\($0)".contains("AWS profile x")
        }
        #expect(throws: CredentialFailure.self) { try Self.source(profile: "default") }
    }

    @Test("a role is assumed with a profile, with itself, or with a surrounding source") func roles() throws {
        let config = """
            [profile a]
            role_arn = arn:a
            source_profile = b
            external_id = e
            duration_seconds = 900
            role_session_name = me
            region = eu-west-2
            [profile b]
            role_arn = arn:b
            source_profile = b
            \(Self.key)
            [profile c]
            role_arn = arn:c
            credential_source = Ec2InstanceMetadata
            [profile d]
            role_arn = arn:d
            web_identity_token_file = /t
            [profile e]
            credential_process = /bin/x 'y z'
            """
        var role = AWSRole(arn: "arn:a", sessionName: "me")
        (role.externalID, role.durationSeconds, role.region) = ("e", 900, "eu-west-2")
        guard case .role(role, .role(let inner, .keys(let keys, _))) = try Self.source(config: config, profile: "a")
        else {
            Issue.record("profile a is not a role assumed with a role")
            return
        }
        #expect(inner == AWSRole(arn: "arn:b", sessionName: nil))
        #expect(keys.keyID == "AK")
        #expect(
            try Self.source(config: config, profile: "c")
                == .role(AWSRole(arn: "arn:c", sessionName: nil), base: .instance))
        #expect(
            try Self.source(config: config, profile: "d")
                == .webIdentity(AWSRole(arn: "arn:d", sessionName: nil), tokenFile: "/t"))
        #expect(try Self.source(config: config, profile: "e") == .program(["/bin/x", "y z"], profile: "e"))
    }

    @Test(
        "profiles that cannot be used say why",
        arguments: [
            ("role_arn=r\n", "needs one of"),
            ("role_arn=r\nsource_profile=a\ncredential_source=Environment\n", "needs one"),
            ("role_arn=r\nsource_profile=none\n", "AWS profile none"), ("role_arn=r\nsource_profile=b\n", "leads back"),
            ("role_arn=r\nsource_profile=c\n", "has no credentials"), ("role_arn=r\nmfa_serial=m\n", "mfa_serial"),
            ("role_arn=r\nsource_profile=b\nduration_seconds=99999999999999999999\n", "900 to 43200"),
            ("role_arn=r\nsource_profile=b\nduration_seconds=-1\n", "900 to 43200"),
            ("role_arn=r\ncredential_source=Moon\n", "is none of"),
            ("role_arn=r\ncredential_source=Environment\n", "no access key"),
            ("role_arn=r\ncredential_source=EcsContainer\n", "is not set"), ("sso_session=corp\n", "Identity Center"),
            ("credential_process=\"x\n", "not a command"), ("aws_access_key_id=AK\n", "not complete"),
        ])
    func unusable(_ properties: String, _ reason: String) {
        let others = "[profile b]\nrole_arn=r\nsource_profile=a\n[profile c]\nregion=x\n"
        #expect {
            try Self.source(config: "[profile a]\n\(properties)\(others)", profile: "a")
        } throws: {
            "\($0)".contains(reason)
        }
    }

    @Test("a long chain of profiles ends in an error") func longChain() {
        let chain = (0..<100).map { "[profile p\($0)]\nrole_arn=r\nsource_profile=p\($0 + 1)\n" }.joined()
        #expect(throws: CredentialFailure.self) { try Self.source(config: chain, profile: "p0") }
    }

    @Test("paths begin at the home directory, unless they are stated") func paths() {
        #expect(AWSSettings { $0 == "HOME" ? "/h" : nil }.configFile == "/h/.aws/config")
        #expect(AWSSettings { ["HOME": "/h", "AWS_CONFIG_FILE": "~/c"][$0] }.configFile == "/h/c")
        #expect(AWSSettings { $0 == "AWS_SHARED_CREDENTIALS_FILE" ? "/c" : nil }.credentialsFile == "/c")
        #expect(AWSSettings { _ in nil }.configFile == nil)
    }

    @Test("a container's credentials are asked for over TLS, on this machine, or at the two fixed addresses")
    func containerHosts() throws {
        for url in [
            "http://169.254.170.2/x", "http://169.254.170.23/x", "http://[fd00:ec2::23]/x", "http://127.0.0.1:51679/x",
            "http://localhost/x", "http://[::1]/x", "https://anywhere.example/x",
        ] {
            #expect(AWSSettings.admitsContainer(try #require(UpstreamURL(url))), "\(url)")
        }
        for url in [
            "http://anywhere.example/x", "http://169.254.169.254/x", "http://10.0.0.1/x", "http://169.254.170.2.evil/",
        ] {
            #expect(!AWSSettings.admitsContainer(try #require(UpstreamURL(url))), "\(url)")
        }
    }
}
