// Work that the first pull would otherwise wait for: libcurl and its TLS library load data with the first handle, and
// decoding JSON builds tables with the first document. That takes 2 to 3 ms, longer than the pull itself, so both are
// done once at the start.

internal import OCI

extension Puller {
    /// Initializes libcurl and the JSON decoder. Sends nothing.
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
