// A provider of ECR's credentials and a fake AWS on one loop.

import Foundation
import TestSupport
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

/// A provider with a fake AWS on one loop.
final class ECRKit {
    let run: LoopRun
    let fake: FakeUpstream
    let aws: FakeAWS
    let directory: TemporaryDirectory
    /// The environment that the providers see.
    var environment: [String: String]
    /// Moves the providers' clock.
    var offsetSeconds: Int64 = 0
    /// What programs print, and the arguments with which they were run.
    var output: Result<[UInt8], CredentialFailure> = .failure(CredentialFailure("no program"))
    private(set) var commands: [[String]] = []
    private let multi: CurlMulti
    private let offload: Offload

    init() throws {
        run = try LoopRun()
        fake = FakeUpstream(on: run.loop)
        aws = FakeAWS(fake)
        directory = try TemporaryDirectory()
        multi = try #require(CurlMulti(on: run.loop))
        offload = Offload(on: run.loop)
        environment = [
            "HOME": directory.path, "AWS_ENDPOINT_URL": fake.url, "AWS_EC2_METADATA_SERVICE_ENDPOINT": fake.url,
        ]
        run.atClose { [multi] in multi.close() }
        run.atClose { [fake] in fake.close() }
    }

    static let registry = ECRHost(account: "123456789012", region: "eu-central-1")!  // a valid host

    func services() -> AWSServices {
        AWSServices(
            loop: run.loop, offload: offload, environment: { [unowned self] in environment[$0] }, userAgent: "test/1",
            complete: { _ in }, wallSeconds: { [unowned self] in Int64(Date().timeIntervalSince1970) + offsetSeconds },
            runProgram: { [unowned self] arguments, _, then in
                commands.append(arguments)
                run.loop.deferred.complete(then, output)
            },
            start: { [multi, run] in Transfer($0, on: multi, loop: run.loop, handler: $1) })
    }

    func provider(profile: String? = nil, endpoint: String? = nil) -> ECRCredentials {
        let provider = ECRCredentials(
            registry: Self.registry, profile: profile, expiryMilliseconds: 7000, endpoint: endpoint,
            services: services())
        run.atClose { provider.close() }
        return provider
    }

    func ask(_ provider: ECRCredentials) -> Result<ProvidedCredentials?, CredentialFailure>? {
        var result: Result<ProvidedCredentials?, CredentialFailure>?
        var hasReturned = false
        provider.provide { [run] in
            #expect(hasReturned, "called before provide returned")
            #expect(result == nil, "called twice")
            result = $0
            run.finish()
        }
        hasReturned = true
        run.run()
        return result
    }

    /// The password, checked to come with the right user.
    func password(_ provider: ECRCredentials) throws -> String {
        let provided = try #require(try ask(provider)?.get())
        guard case .password("AWS", let password) = provided.credentials else {
            throw CredentialFailure("not a password of AWS")
        }
        return password.revealed
    }

    func failure(_ provider: ECRCredentials) -> String {
        guard case .failure(let failure) = ask(provider) else { return "no failure" }
        return failure.reason
    }

    func use(_ key: FakeAWS.Key) {
        environment["AWS_ACCESS_KEY_ID"] = key.id
        environment["AWS_SECRET_ACCESS_KEY"] = key.secret
        environment["AWS_SESSION_TOKEN"] = key.session
    }

    func write(_ text: String, to name: String) throws -> String {
        let path = "\(directory.path)/\(name)"
        try FileManager.default.createDirectory(
            atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }
}
