// A user whose password is in a file, such as a mounted Kubernetes secret.

internal import Configuration

/// The credentials of a user, with the password that the file has now.
package final class PasswordFileCredentials: CredentialProvider {
    /// Largest file accepted, in bytes: that of a token service's token, which some registries take for a password.
    package static let maximumBytes = TokenReply.maximumBytes

    private let user: String
    private let path: String
    private let offload: Offload

    package let isCheap = true

    package init(user: String, path: String, offload: Offload) {
        self.user = user
        self.path = path
        self.offload = offload
    }

    package func provide(then: @escaping (Result<ProvidedCredentials?, CredentialFailure>) -> Void) {
        let (user, path) = (user, path)
        offload.run({
            () throws -> Secret in
            let content = try ReplaceableFile.read(path, maximumBytes: PasswordFileCredentials.maximumBytes)
            // Without a known stamp the content is always new.
            guard case .new(let bytes, _) = content else { throw CredentialFailure("unchanged") }
            return try PasswordFileCredentials.password(bytes)
        }) { result in
            then(
                result.map { ProvidedCredentials(.password(user: user, $0)) }
                    .mapError { CredentialFailure("password file: \(CredentialFailure(reading: $0))") })
        }
    }

    /// The password in a file's content: all of it except for a line break at the end, which editors add.
    static func password(_ bytes: [UInt8]) throws(CredentialFailure) -> Secret {
        var bytes = bytes[...]
        if bytes.last == 0x0A {
            bytes.removeLast()
            if bytes.last == 0x0D { bytes.removeLast() }
        }
        guard !bytes.isEmpty else { throw CredentialFailure("it is empty") }
        guard bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw CredentialFailure("it holds a control character, such as a second line")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw CredentialFailure("it is not UTF-8") }
        return Secret(text)
    }
}

extension CredentialFailure {
    /// The failure of a job that reads a file.
    init(reading error: any Error) {
        switch error {
        case let failure as CredentialFailure: self = failure
        case let failure as ReplaceableFile.Failure: self.init("cannot be read: \(failure.reason)")
        default: self.init("cannot be read")
        }
    }
}
