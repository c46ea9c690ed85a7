// SHA-256 and SHA-512 by OpenSSL's EVP, which picks the processor's own instructions.

internal import COpenSSL

/// An incremental hash, used by one thread at a time.
///
/// Source: EVP_DigestInit(3).
package final class ContentHash {
    let algorithm: Digest.Algorithm
    private let context: OpaquePointer

    package init(_ algorithm: Digest.Algorithm) {
        self.algorithm = algorithm
        // EVP_MD_CTX_new and EVP_DigestInit_ex fail only when memory runs out, which Swift does not survive elsewhere
        // either, or when the provider lacks SHA-2, without which this server cannot work.
        guard let context = EVP_MD_CTX_new() else { preconditionFailure("EVP_MD_CTX_new: out of memory") }
        self.context = context
        let type = algorithm == .sha256 ? EVP_sha256() : EVP_sha512()
        let code = EVP_DigestInit_ex(context, type, nil)
        precondition(code == 1, "EVP_DigestInit_ex: \(algorithm.name) is not available")
    }

    deinit { EVP_MD_CTX_free(context) }

    package func update(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress else { return }
        let code = EVP_DigestUpdate(context, start, bytes.count)
        // Fails only before init or after final, and final runs only on a copy.
        precondition(code == 1, "EVP_DigestUpdate failed")
    }

    /// The digest of the bytes so far; more bytes may follow.
    package func digest() -> Digest {
        guard let copy = EVP_MD_CTX_new() else { preconditionFailure("EVP_MD_CTX_new: out of memory") }
        defer { EVP_MD_CTX_free(copy) }
        return withUnsafeTemporaryAllocation(byteCount: Int(EVP_MAX_MD_SIZE), alignment: 8) { raw in
            let bytes = raw.bindMemory(to: UInt8.self)
            var count: UInt32 = 0
            let done =
                EVP_MD_CTX_copy_ex(copy, context) == 1 && EVP_DigestFinal_ex(copy, bytes.baseAddress, &count) == 1
            let hash = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[..<Int(count)])
            guard done, let digest = Digest(algorithm: algorithm, bytes: hash) else {
                // The length is fixed by the algorithm; the only other failure is that memory runs out.
                preconditionFailure("EVP_DigestFinal_ex failed")
            }
            return digest
        }
    }

    /// The digest of some bytes in memory.
    static func hash(_ bytes: UnsafeRawBufferPointer, _ algorithm: Digest.Algorithm) -> Digest {
        let hash = ContentHash(algorithm)
        hash.update(bytes)
        return hash.digest()
    }
}

/// SHA-256 in one call.
package enum SHA256 {
    /// Name and version of the hashing library.
    package static var libraryVersion: String { String(cString: OpenSSL_version(OPENSSL_VERSION)) }

    package static func hash(_ bytes: UnsafeRawBufferPointer) -> Digest { ContentHash.hash(bytes, .sha256) }
}

extension Digest {
    /// The digest of bytes in memory, by either algorithm.
    package static func of(_ bytes: UnsafeRawBufferPointer, _ algorithm: Algorithm = .sha256) -> Digest {
        ContentHash.hash(bytes, algorithm)
    }
}
