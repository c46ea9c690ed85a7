// Fuzzes what AWS, and the files of its SDKs, say.

import Configuration
import OCI
import Registry

enum AWSEntries {
    /// An answer, read as each kind of answer.
    static func answer(_ bytes: UnsafeRawBufferPointer) {
        let body = Array(bytes)
        for kind in [AWSAnswers.Kind.container, .instance, .program] {
            if let read = try? AWSAnswers.credentials(body, kind) { look(at: read) }
        }
        if let read = try? SecurityTokens.credentials(body) { look(at: read) }
        for code in [AWSAnswers.errorCode(body), SecurityTokens.errorCode(body)] {
            require(code.map { (1...64).contains($0.utf8.count) } ?? true, "a code of \(code?.utf8.count ?? 0) bytes")
        }
        guard let token = try? AWSAnswers.registryToken(body) else { return }
        require(!token.user.isEmpty, "a token without a user")
        for now in [Int64.min, 0, 1_800_000_000, .max] {
            require(token.lifeMilliseconds(now: now) ?? 1 <= 86_400_000, "a long life")
        }
    }

    private static func look(at credentials: AWSCredentials) {
        require(!credentials.keyID.isEmpty, "no key")
        for now in [Int64.min, 0, 1_800_000_000, .max] {
            require(credentials.usableUntilSeconds(now: now) >= now, "used before it was there")
        }
    }

    /// Environment variables, one a line, then an empty line and the content of both profile files.
    static func profiles(_ bytes: UnsafeRawBufferPointer) {
        let text = String(decoding: bytes, as: UTF8.self)
        _ = try? ECRProviderOptions(text)
        let parts = text.split(separator: "\n", omittingEmptySubsequences: false)
        let end = parts.firstIndex(of: "") ?? parts.endIndex
        var environment: [String: String] = [:]
        for line in parts[..<end] {
            let pair = line.split(separator: "=", maxSplits: 1)
            if pair.count == 2 { environment[String(pair[0])] = String(pair[1]) }
        }
        let file = Array(parts[end...].joined(separator: "\n").utf8)
        let settings = AWSSettings { environment[$0] }
        _ = try? AWSSourceChoice.environment(settings)
        guard let profiles = try? AWSProfiles(config: file, credentials: file) else { return }
        for name in [nil, "a", "b"] {
            _ = try? AWSSourceChoice(settings: settings, profiles: profiles).profile(name).name
        }
    }
}
