// Base64 encoding by OpenSSL.

internal import COpenSSL

/// RFC 4648 §4, with padding and without line breaks. Source: EVP_EncodeBlock(3).
package enum Base64 {
    package static func encode(_ text: String) -> String {
        let bytes = Array(text.utf8)
        // Four characters for three bytes, and a final NUL. EVP_EncodeBlock takes the length as an int, which suffices
        // for a line of a configuration file.
        let encoded = [UInt8](unsafeUninitializedCapacity: 4 * ((bytes.count + 2) / 3) + 1) { buffer, count in
            count = Int(EVP_EncodeBlock(buffer.baseAddress, bytes, Int32(clamping: bytes.count)))
        }
        return String(decoding: encoded, as: UTF8.self)
    }
}
