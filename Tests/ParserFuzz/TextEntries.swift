// Fuzzes names and patterns that users and clients write.

import Configuration
import OCI
import Registry

enum TextEntries {
    static func names(_ bytes: UnsafeRawBufferPointer) {
        let text = String(decoding: bytes, as: UTF8.self)
        if let name = ImageName(text) { require(ImageName("\(name)") == name, "\(name)") }
        if let host = RegistryHost(text) {
            require(RegistryHost(host.text) == host && host.port.map { $0 > 0 } ?? true, "\(host)")
        }
        if let reference = Reference(text) { require(Reference("\(reference)") == reference, "\(reference)") }
        if let digest = Digest(text) { require("\(digest)" == text, "\(digest)") }
        _ = NetworkAddress(literal: text)?.restriction(refusesPrivate: true)
        _ = MediaType(text)
        _ = LocalTime.seconds(text)
        _ = try? Age(text).before(nowSeconds: 1_700_000_000)
        _ = try? ConfigRules.sizeBytes(text)
        _ = try? ConfigRules.port(text)
        _ = try? ConfigRules.timeoutMilliseconds(text)
        _ = try? ConfigRules.listenPoint(text)
        _ = try? ConfigRules.arch(text)
    }

    /// Longer patterns only take longer.
    private static let maximumPatternBytes = 256

    static func pattern(_ bytes: UnsafeRawBufferPointer) {
        let text = String(decoding: bytes.prefix(maximumPatternBytes), as: UTF8.self)
        guard let pattern = try? Pattern(text) else { return }
        for name in ["docker.io/library/debian:12", "a.b:5000/c/d@sha256:ab", ""] { _ = try? pattern.matches(name) }
    }
}
