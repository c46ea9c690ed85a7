// Checks the content of the files that a configuration names, as its users read it.

package import Configuration

extension NamedFile {
    /// Why the content of the file at `path` cannot be used; nil when it can. Blocks. The reason holds none of the
    /// content.
    package static func contentProblem(_ kind: NamedFile, _ path: String) -> String? {
        switch kind {
        case .dockerConfig:
            switch DockerConfig.read(path) {
            case .success(let config): return config.problems.isEmpty ? nil : config.problems.joined(separator: "; ")
            case .failure(let failure): return failure.reason
            }
        case .password:
            return problem(path, PasswordFileCredentials.maximumBytes) { bytes throws(CredentialFailure) in
                _ = try PasswordFileCredentials.password(bytes)
                return nil
            }
        case .authorities, .certificate:
            return problem(path, PEMFile.maximumBytes) { PEMFile.certificateProblem($0) }
        case .privateKey: return problem(path, PEMFile.maximumBytes) { PEMFile.keyProblem($0) }
        }
    }

    private static func problem(
        _ path: String, _ maximumBytes: Int, _ check: ([UInt8]) throws(CredentialFailure) -> String?
    ) -> String? {
        do {
            guard case .new(let bytes, _) = try ReplaceableFile.read(path, maximumBytes: maximumBytes) else {
                return nil
            }
            return try check(bytes)
        } catch {
            return CredentialFailure(reading: error).reason
        }
    }
}
