// The answers of AWS, with hostile content.

import Foundation
import Testing

@testable import Configuration
@testable import OCI
@testable import Registry

@Suite struct AWSAnswerTests {
    private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    private static func token(_ expiry: String) throws -> AWSAnswers.RegistryToken {
        let token = Data("AWS:pass:word".utf8).base64EncodedString()
        return try AWSAnswers.registryToken(
            bytes("{\"authorizationData\":[{\"authorizationToken\":\"\(token)\",\"expiresAt\":\(expiry)}]}"))
    }

    @Test("a token is a user, a password with any sign, and seconds as a number") func registryToken() throws {
        let token = try Self.token("1795856361.25")
        #expect(token.user == "AWS")
        #expect(token.password == Secret("pass:word"))
        #expect(token.lifeMilliseconds(now: 1_795_856_300) == 61_000)
        #expect(!"\(token)".contains("pass:word"))
    }

    @Test(
        "an expiry that cannot be is unknown",
        arguments: [
            "-1", "0", "1e300", "-1e300", "1e400", "null", "\"1795856361\"", "[]", "9999999999999", "1426786789",
        ])
    func expiries(_ text: String) throws {
        #expect(try Self.token(text).lifeMilliseconds(now: 1_700_000_000) == nil)
    }

    @Test("a far expiry counts as a day") func farExpiry() throws {
        #expect(try Self.token("253402300799").lifeMilliseconds(now: 0) == 86_400_000)
        #expect(try Self.token("253402300799").lifeMilliseconds(now: .min) == 86_400_000)
        #expect(try Self.token("253402300799").lifeMilliseconds(now: .max) == nil)
    }

    @Test(
        "an answer without a token is refused",
        arguments: [
            "", "{}", "[]", "{\"authorizationData\":[]}", "{\"authorizationData\":[{}]}",
            "{\"authorizationData\":[{\"authorizationToken\":\"?\"}]}",
            "{\"authorizationData\":[{\"authorizationToken\":\"QVdT\"}]}",
            "{\"authorizationData\":[{\"authorizationToken\":\"QVdTOg==\"}]}",
            // AWS:a, a line break and b.
            "{\"authorizationData\":[{\"authorizationToken\":\"QVdTOmEKYg==\"}]}",
        ])
    func noToken(_ text: String) {
        #expect(throws: CredentialFailure.self) { try AWSAnswers.registryToken(Self.bytes(text)) }
    }

    @Test("credentials of each kind are read") func credentials() throws {
        let container = try AWSAnswers.credentials(
            Self.bytes(
                #"{"AccessKeyId":"A","SecretAccessKey":"S","Token":"T","Expiration":"2026-11-28T08:59:21Z"}"#
            ),
            .container)
        #expect(
            container == AWSCredentials(keyID: "A", secret: "S", sessionToken: "T", expiresAtSeconds: 1_795_856_361))
        let program = try AWSAnswers.credentials(
            Self.bytes(#"{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","SessionToken":"T"}"#), .program)
        #expect(program == AWSCredentials(keyID: "A", secret: "S", sessionToken: "T"))
        #expect(!"\(program)".contains("\"S\""))
    }

    @Test("credentials that cannot be used are refused, with the code of an error and without other text")
    func refusedCredentials() {
        for (text, kind, reason) in [
            (#"{"Version":2,"AccessKeyId":"A","SecretAccessKey":"S"}"#, AWSAnswers.Kind.program, "version 1"),
            (#"{"AccessKeyId":"A","SecretAccessKey":"S"}"#, .program, "version 1"),
            (#"{"Code":"AssumeRoleUnauthorizedAccess"}"#, .instance, "AssumeRoleUnauthorizedAccess"),
            (#"{"Code":"x y"}"#, .instance, "an error"), (#"{"AccessKeyId":"A"}"#, .container, "no usable access key"),
            (#"{"AccessKeyId":"A","SecretAccessKey":"S\r\nX: y"}"#, .container, "no usable access key"),
            (#"{"AccessKeyId":"A","SecretAccessKey":"S","Expiration":"soon"}"#, .container, "not a time"),
            (#"{"AccessKeyId":"A","SecretAccessKey":"S","Expiration":5}"#, .container, "JSON"),
            ("<html>", .container, "JSON"),
        ] {
            #expect {
                try AWSAnswers.credentials(Self.bytes(text), kind)
            } throws: {
                "\($0)".contains(reason)
            }
        }
        #expect(throws: CredentialFailure.self) {
            try AWSAnswers.credentials([UInt8](repeating: 0x20, count: 65_537), .container)
        }
    }

    @Test("credentials are used until 5 minutes before their end, or half of a short life") func margin() {
        func until(_ expiry: Int64?) -> Int64? {
            AWSCredentials(keyID: "A", secret: "S", sessionToken: nil, expiresAtSeconds: expiry)?
                .usableUntilSeconds(now: 1000)
        }
        #expect(until(4600) == 4300)
        #expect(until(1100) == 1050)
        #expect(until(1000) == 1000)
        #expect(until(0) == 1000)
        #expect(until(nil) == 1000)
    }

    @Test("the code of an error is one word") func errorCodes() {
        #expect(AWSAnswers.errorCode(Self.bytes(#"{"__type":"ExpiredTokenException"}"#)) == "ExpiredTokenException")
        #expect(AWSAnswers.errorCode(Self.bytes(#"{"__type":"com.a#Denied","message":"secret"}"#)) == "Denied")
        #expect(AWSAnswers.errorCode(Self.bytes(#"{"__type":"a b"}"#)) == nil)
        #expect(AWSAnswers.errorCode(Self.bytes("{\"__type\":\"\(String(repeating: "a", count: 99))\"}")) == nil)
        #expect(AWSAnswers.errorCode([]) == nil)
        let xml = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>m</Message></Error></ErrorResponse>"
        #expect(SecurityTokens.errorCode(Self.bytes(xml)) == "AccessDenied")
    }

    private static let part =
        "<AccessKeyId>A</AccessKeyId><SecretAccessKey>S/+</SecretAccessKey><SessionToken>T==</SessionToken>"
        + "<Expiration>2026-11-28T08:59:21Z</Expiration>"

    @Test("the Security Token Service's answer is read") func securityTokens() throws {
        let read = try SecurityTokens.credentials(
            Self.bytes("<?xml version=\"1.0\"?><R xmlns=\"x\"><Q>\n<Credentials>\(Self.part)</Credentials></Q></R>"))
        #expect(
            read == AWSCredentials(keyID: "A", secret: "S/+", sessionToken: "T==", expiresAtSeconds: 1_795_856_361))
    }

    @Test("an answer with a second element, references or sections is refused") func hostileXML() {
        let part = Self.part
        for text in [
            "", "<", "<Credentials>", "</Credentials><Credentials>", "<Credentials></Credentials>",
            "<Credentials>\(part)</Credentials><Credentials>\(part)</Credentials>",
            "<Credentials>\(part)\(part)</Credentials>",
            "<Credentials>\(part.replacingOccurrences(of: "S/+", with: "&amp;"))</Credentials>",
            "<Credentials>\(part.replacingOccurrences(of: "S/+", with: "<![CDATA[S]]>"))</Credentials>",
            "<Credentials>\(part.replacingOccurrences(of: "2026", with: "26"))</Credentials>",
            "<Credentials>\(part.replacingOccurrences(of: "<SessionToken>", with: "<SessionToken >"))</Credentials>",
        ] {
            #expect(throws: CredentialFailure.self, "\(text)") { try SecurityTokens.credentials(Self.bytes(text)) }
        }
    }
}
