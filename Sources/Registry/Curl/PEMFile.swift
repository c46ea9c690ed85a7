// Checks files of certificates and keys with the library that curl reads them with.

internal import COpenSSL
internal import Glibc

/// A PEM file that the configuration names.
enum PEMFile {
    /// Largest file accepted, in bytes: several times the authorities of a system.
    static let maximumBytes = 4 * 1024 * 1024

    /// Why the certificates cannot be used; nil when there are some and all are valid PEM.
    static func certificateProblem(_ bytes: [UInt8]) -> String? {
        var count = 0
        var isEndReached = false
        read(bytes) { memory in
            ERR_clear_error()
            while let certificate = PEM_read_bio_X509_AUX(memory, nil, nil, nil) {
                X509_free(certificate)
                count += 1
            }
            isEndReached = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE
            ERR_clear_error()
        }
        if !isEndReached { return "certificate \(count + 1) is not valid PEM" }
        return count == 0 ? "holds no PEM certificate" : nil
    }

    /// Why the private key cannot be used; nil when it can.
    static func keyProblem(_ bytes: [UInt8]) -> String? {
        var isKey = false
        read(bytes) { memory in
            // An empty passphrase, since this server has none. Without this function OpenSSL asks on the terminal.
            let key = PEM_read_bio_PrivateKey(memory, nil, { _, _, _, _ in 0 }, nil)
            isKey = key != nil
            EVP_PKEY_free(key)
            ERR_clear_error()
        }
        return isKey ? nil : "holds no PEM private key that can be read without a passphrase"
    }

    private static func read(_ bytes: [UInt8], _ body: (OpaquePointer) -> Void) {
        bytes.withUnsafeBytes { buffer in
            guard let memory = BIO_new_mem_buf(buffer.baseAddress, Int32(clamping: buffer.count)) else { return }
            body(memory)
            BIO_free(memory)
        }
    }
}
