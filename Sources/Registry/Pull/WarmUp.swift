// The first pull of a process would find everything cold: libcurl and its TLS library load what they need when the
// first handle is made, and decoding JSON builds its tables with the first document. That is 2 to 3 ms, more than the
// pull itself takes. Both are done once at the start instead.

internal import OCI

extension Puller {
    /// Initializes what the first pull would have to wait for. Sends nothing.
    package func warmUp() {
        context.client.warmUp()
        context.offload.run {
            WarmUp.decode()
        } then: { (_: Result<Void, any Error>) in
        }
    }
}

private enum WarmUp {
    static func decode() {
        let zeros = String(repeating: "0", count: 64)
        let entry = #"{"mediaType":"a/b","digest":"sha256:\#(zeros)","size":1}"#
        for list in [#""config":\#(entry),"layers":[\#(entry)]"#, #""manifests":[\#(entry)]"#] {
            let body = Array(#"{"schemaVersion":2,\#(list)}"#.utf8)
            _ = body.withUnsafeBytes { Digest.of($0) }
            _ = try? Manifest.decode(body, contentType: nil)
        }
    }
}
