// ECR's tokens, with AWS credentials from every source, against a fake that verifies signatures.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct ECRCredentialsTests {
    // MARK: The signature

    @Test("a permanent key signs the request for region and service, whatever the endpoint's name")
    func permanentKey() throws {
        let kit = try ECRKit()
        kit.use(kit.aws.issue("env", isTemporary: false))
        let provider = kit.provider()
        let provided = try #require(try kit.ask(provider)?.get())
        #expect(provided.credentials == .password(user: "AWS", Secret("password-1")))
        let life = try #require(provided.lifeMilliseconds)
        #expect((43_100_000...43_200_000).contains(life))
        let signature = try #require(kit.aws.accepted.first)
        #expect(signature.region == "eu-central-1")
        #expect(signature.service == "ecr")
        #expect(kit.fake.requests.first?.body == Array("{\"registryIds\":[\"123456789012\"]}".utf8))
        // Its user caches: each call asks.
        #expect(try kit.password(provider) == "password-2")
        kit.run.close()
    }

    @Test("the session token of a temporary key is signed, also when it is long", arguments: [8, 1200, 4096, 12_000])
    func temporaryKey(_ bytes: Int) throws {
        let kit = try ECRKit()
        kit.aws.sessionBytes = bytes
        kit.use(kit.aws.issue("env"))
        #expect(try kit.password(kit.provider()) == "password-1")
        #expect(kit.aws.accepted.first?.signedHeaders.contains("x-amz-security-token") == true)
        kit.run.close()
    }

    @Test("a wrong secret is refused, and the failure holds neither it nor the session token")
    func wrongSecret() throws {
        let kit = try ECRKit()
        let key = kit.aws.issue("env")
        kit.use(key)
        kit.environment["AWS_SECRET_ACCESS_KEY"] = "wr0ng"
        let reason = kit.failure(kit.provider())
        #expect(
            reason
                == "ECR at 127.0.0.1 answered 400 InvalidSignatureException, with the access key of the environment")
        #expect(!reason.contains("wr0ng") && !reason.contains(key.session ?? ""))
        kit.run.close()
    }

    @Test("an expiry in the past means that the configured one is used") func pastExpiry() throws {
        let kit = try ECRKit()
        kit.aws.tokenSeconds = -86_400
        kit.use(kit.aws.issue("env"))
        let provided = try kit.ask(kit.provider())?.get()
        #expect(provided?.lifeMilliseconds == 7000)
        kit.run.close()
    }

    // MARK: Sources

    @Test("a web identity token is read from its file each time it is needed") func webIdentity() throws {
        let kit = try ECRKit()
        kit.environment["AWS_ROLE_ARN"] = "arn:aws:iam::123456789012:role/r"
        kit.environment["AWS_WEB_IDENTITY_TOKEN_FILE"] = try kit.write("stale", to: "token")
        let provider = kit.provider()
        #expect(
            kit.failure(provider)
                == "the web identity token for arn:aws:iam::123456789012:role/r: 127.0.0.1 answered 400 "
                + "InvalidIdentityToken")
        _ = try kit.write("eyJ.web+identity/token=\n", to: "token")
        #expect(try kit.password(provider) == "password-1")
        kit.run.close()
    }

    @Test("a missing or empty token file is a failure that names it") func missingToken() throws {
        let kit = try ECRKit()
        kit.environment["AWS_ROLE_ARN"] = "arn:aws:iam::123456789012:role/r"
        kit.environment["AWS_WEB_IDENTITY_TOKEN_FILE"] = "\(kit.directory.path)/none"
        #expect(kit.failure(kit.provider()).contains("/none: No such file"))
        kit.environment["AWS_WEB_IDENTITY_TOKEN_FILE"] = kit.directory.path
        #expect(kit.failure(kit.provider()).contains("it is not a file"))
        kit.environment["AWS_WEB_IDENTITY_TOKEN_FILE"] = try kit.write("\n", to: "empty")
        #expect(kit.failure(kit.provider()).contains("/empty is empty"))
        kit.run.close()
    }

    @Test("a profile's key, and a role assumed with it, sign the requests") func profiles() throws {
        let kit = try ECRKit()
        let key = kit.aws.issue("profile", isTemporary: false)
        _ = try kit.write(
            "[base]\naws_access_key_id = \(key.id)\naws_secret_access_key = \(key.secret)\n", to: ".aws/credentials")
        _ = try kit.write(
            """
            [profile assumed]
            role_arn = arn:aws:iam::123456789012:role/r
            source_profile = base
            region = eu-west-3
            """, to: ".aws/config")
        #expect(try kit.password(kit.provider(profile: "base")) == "password-1")
        kit.environment["AWS_PROFILE"] = "assumed"
        #expect(try kit.password(kit.provider()) == "password-2")
        #expect(kit.aws.accepted.map(\.service) == ["ecr", "sts", "ecr"])
        #expect(kit.aws.accepted.map(\.region) == ["eu-central-1", "eu-west-3", "eu-central-1"])
        #expect(kit.failure(kit.provider(profile: "none")).contains("AWS profile none"))
        kit.run.close()
    }

    @Test("credential_process is run without a shell, and its failure is named") func program() throws {
        let kit = try ECRKit()
        _ = try kit.write("[profile p]\ncredential_process = /opt/x --for 'a b'\n", to: ".aws/config")
        let key = kit.aws.issue("program")
        let fields = [
            "Version": "1", "AccessKeyId": "\"\(key.id)\"", "SecretAccessKey": "\"\(key.secret)\"",
            "SessionToken": "\"\(key.session ?? "")\"",
        ]
        kit.output = .success(Array("{\(fields.map { "\"\($0)\":\($1)" }.joined(separator: ","))}".utf8))
        let provider = kit.provider(profile: "p")
        #expect(try kit.password(provider) == "password-1")
        #expect(kit.commands == [["/opt/x", "--for", "a b"]])
        kit.output = .failure(CredentialFailure("it ended with status 3"))
        #expect(kit.failure(provider) == "the credential_process of AWS profile p: it ended with status 3")
        kit.output = .success(Array("{}".utf8))
        #expect(kit.failure(provider).contains("not of version 1"))
        kit.run.close()
    }

    @Test("a container's credentials need its authorization, from the variable or the file") func container() throws {
        let kit = try ECRKit()
        kit.aws.containerAuthorization = "eks-token"
        kit.environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "\(kit.fake.url)/v2/credentials/x?a=b"
        #expect(kit.failure(kit.provider()) == "the container's credential service: it answered 401")
        kit.environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "eks-token"
        #expect(try kit.password(kit.provider()) == "password-1")
        kit.environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "wrong"
        kit.environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = try kit.write("eks-token\n", to: "token")
        #expect(try kit.password(kit.provider()) == "password-2")
        kit.environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://192.0.2.1/x"
        #expect(kit.failure(kit.provider()).contains("neither https nor"))
        kit.run.close()
    }

    @Test("an instance's role is asked for in a session, never without one") func instance() throws {
        let kit = try ECRKit()
        #expect(try kit.password(kit.provider()) == "password-1")
        let metadata = kit.fake.requests.filter { $0.path.hasPrefix("/latest/") }
        #expect(metadata.map(\.method) == ["PUT", "GET", "GET"])
        #expect(metadata.dropFirst().allSatisfy { $0.header("x-aws-ec2-metadata-token") == "session0==" })
        kit.aws.hasInstanceRole = false
        #expect(kit.failure(kit.provider()) == "the instance metadata service: the instance has no role")
        kit.run.close()
    }

    @Test("version 1 of the metadata service is not used when version 2 is missing", arguments: [400, 403, 404, 405])
    func noSession(_ status: Int) throws {
        let kit = try ECRKit()
        kit.fake.on("/latest/api/token", .status(status))
        #expect(kit.failure(kit.provider()).contains("it answered \(status) to the request for a session"))
        #expect(kit.fake.requests.count == 1)
        kit.run.close()
    }

    @Test("hostile metadata is refused") func hostileMetadata() throws {
        let kit = try ECRKit()
        kit.fake.on("/latest/api/token", .ok(Array("a\r\nX: y".utf8)))
        #expect(kit.failure(kit.provider()).contains("request for a session"))
        kit.fake.on("/latest/api/token", .ok([UInt8](repeating: 0x61, count: 70_000)))
        #expect(kit.failure(kit.provider()).contains("too long"))
        kit.fake.on("/latest/api/token", .ok(Array("a".utf8)))
        kit.fake.on("/latest/meta-data/iam/security-credentials/", .ok(Array("../x".utf8)))
        #expect(kit.failure(kit.provider()).contains("question for the role"))
        kit.fake.on("/latest/api/token", .redirect(to: "/elsewhere"))
        #expect(kit.failure(kit.provider()).contains("it answered 307"))
        kit.run.close()
    }

    // MARK: The cache

    @Test("AWS credentials are kept until 5 minutes before they expire") func cache() throws {
        let kit = try ECRKit()
        let provider = kit.provider()
        func fetches() -> Int { kit.fake.requests(to: "/latest/api/token").count }
        _ = try kit.password(provider)
        kit.offsetSeconds = 3200
        _ = try kit.password(provider)
        #expect(fetches() == 1)
        kit.offsetSeconds = 3400
        _ = try kit.password(provider)
        #expect(fetches() == 2)
        kit.run.close()
    }

    @Test("AWS credentials that are refused are replaced once") func refusedKey() throws {
        let kit = try ECRKit()
        let provider = kit.provider()
        #expect(try kit.password(provider) == "password-1")
        kit.aws.keys = [:]
        #expect(try kit.password(provider) == "password-2")
        #expect(kit.aws.tokenRequests.count == 3)
        // Those that come in their place are refused as well.
        kit.use(FakeAWS.Key(id: "AUNKNOWN", secret: "s", session: nil))
        #expect(kit.failure(kit.provider()).contains("answered 400 UnrecognizedClientException"))
        #expect(kit.aws.tokenRequests.count == 5)
        kit.run.close()
    }

    @Test("calls at the same time share one fetch of AWS credentials") func together() throws {
        let kit = try ECRKit()
        let provider = kit.provider()
        var left = 5
        for _ in 0..<5 {
            provider.provide { [run = kit.run] in
                if case .failure(let failure) = $0 { Issue.record(failure) }
                left -= 1
                if left == 0 { run.finish() }
            }
        }
        kit.run.run()
        #expect(kit.fake.requests(to: "/latest/api/token").count == 1)
        #expect(kit.aws.tokenCount == 5)
        kit.run.close()
    }

    // MARK: Faults

    @Test("an overloaded service and a broken connection get a second attempt") func retries() throws {
        let kit = try ECRKit()
        kit.use(kit.aws.issue("env"))
        let answer = kit.fake.answer
        for fault in [FakeAnswer.status(503), .limited, .hangUp] {
            kit.fake.on("/", { _ in fault }, answer)
            #expect(try kit.password(kit.provider()).hasPrefix("password-"))
        }
        kit.fake.on("/", .status(500))
        #expect(kit.failure(kit.provider()) == "ECR at 127.0.0.1 answered 500, with the access key of the environment")
        kit.run.close()
    }

    @Test("a metadata service that does not answer ends in a failure that explains the hop limit")
    func silentMetadata() throws {
        let kit = try ECRKit()
        kit.fake.on("/latest/api/token", .silent)
        let reason = kit.failure(kit.provider())
        #expect(reason.contains("it did not answer within 1000 ms") && reason.contains("hop limit"))
        #expect(kit.fake.requests.count == 3)
        kit.run.close()
    }

    @Test("a provider that is closed calls nobody, and leaves nothing open") func close() throws {
        let kit = try ECRKit()
        kit.fake.on("/latest/api/token", .silent)
        let provider = kit.provider()
        provider.provide { _ in Issue.record("called after close") }
        kit.run.wait { kit.fake.requests.count == 1 }
        provider.close()
        provider.provide { _ in Issue.record("called after close") }
        kit.run.run(milliseconds: 50)
        kit.run.close()
    }

    @Test("the configured endpoint replaces the region's, and may be on this machine") func configuredEndpoint()
        throws
    {
        let kit = try ECRKit()
        kit.use(kit.aws.issue("env"))
        kit.environment["AWS_ENDPOINT_URL"] = nil
        #expect(try kit.password(kit.provider(endpoint: kit.fake.url)) == "password-1")
        #expect(kit.failure(kit.provider(endpoint: "ftp://x")).contains("not a URL"))
        kit.run.close()
    }

    @Test("an endpoint keeps its path, which is signed") func endpointPath() throws {
        let kit = try ECRKit()
        kit.use(kit.aws.issue("env"))
        #expect(try kit.password(kit.provider(endpoint: "\(kit.fake.url)/aws/ecr")) == "password-1")
        #expect(kit.fake.requests.last?.path == "/aws/ecr")
        kit.run.close()
    }

    @Test("a host that is none of ECR needs a region") func hosts() throws {
        let kit = try ECRKit()
        func make(_ host: String, _ options: String) throws -> ECRCredentials {
            try ECRCredentials(
                host: #require(RegistryHost(host)), options: ECRProviderOptions(options), expiryMilliseconds: 1,
                services: kit.services())
        }
        #expect(throws: Refusal.self) { try make("registry.example", "profile=x") }
        #expect(throws: Never.self) { try make("registry.example", "region=eu-west-1").close() }
        #expect(throws: Never.self) { try make("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "").close() }
        kit.run.close()
    }
}
