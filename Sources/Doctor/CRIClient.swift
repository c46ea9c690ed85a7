// The runtime's own image service, which the kubelet uses (Kubernetes, cri-api, runtime.v1): gRPC over a Unix socket.
// `ctr` would not do: it reads a directory that it is given, while the kubelet's pulls depend on the runtime's
// configuration.

internal import Registry

/// Why a runtime has not done what it was asked.
struct RuntimeFailure: Error, Equatable {
    /// Whether the runtime's socket could not be used, so that nothing is known of the image.
    var isSocket = false
    let reason: String
}

/// A runtime that pulls an image when it is asked.
protocol RuntimeClient {
    /// Name and version, such as `containerd 1.7.24`.
    func version() throws(RuntimeFailure) -> String
    func pull(_ image: String) throws(RuntimeFailure)
    /// Removes an image that has been pulled; a failure is of no interest.
    func remove(_ image: String)
    /// What is wrong with the configuration that the running program uses; nil where nothing is known to be.
    func configurationProblem() -> (problem: String, remedy: String)?
}

struct CRIClient: RuntimeClient {
    /// Time for a pull of a few kilobytes: longer than a runtime needs to give up a host that does not answer.
    static let pullMilliseconds = 120_000
    private static let askMilliseconds = 10_000
    /// gRPC's status 12, UNIMPLEMENTED.
    private static let unimplemented = "12"

    let socket: String

    func version() throws(RuntimeFailure) -> String {
        let answer = try call("runtime.v1.RuntimeService/Version", ProtobufMessage(), CRIClient.askMilliseconds)
        let (name, version) = (answer.text(of: 2) ?? "a runtime", answer.text(of: 3) ?? "")
        return "\(name) \(version.hasPrefix("v") ? String(version.dropFirst()) : version)"
    }

    func pull(_ image: String) throws(RuntimeFailure) {
        _ = try call("runtime.v1.ImageService/PullImage", CRIClient.naming(image), CRIClient.pullMilliseconds)
    }

    func remove(_ image: String) {
        _ = try? call("runtime.v1.ImageService/RemoveImage", CRIClient.naming(image), CRIClient.askMilliseconds)
    }

    /// The part of containerd's own report of its configuration that is used.
    private struct Status: Decodable {
        struct Registry: Decodable {
            let configPath: String?
        }
        let registry: Registry?
    }

    func configurationProblem() -> (problem: String, remedy: String)? {
        var request = ProtobufMessage()
        request.add(1, true)
        guard let answer = try? call("runtime.v1.RuntimeService/Status", request, CRIClient.askMilliseconds) else {
            return nil
        }
        for entry in answer.contents(of: 2).map({ ProtobufMessage($0) }) where entry.text(of: 1) == "config" {
            guard let json = entry.contents(of: 2).last,
                let path = NDJSONLine.decode(json, as: Status.self)?.registry?.configPath
            else { return nil }
            guard path.isEmpty else { return nil }
            return (
                "it runs without config_path, so the kubelet's pulls do not read certs.d",
                "set config_path (ociregistry setup containerd does), and restart containerd"
            )
        }
        return nil
    }

    /// `ImageSpec` with a name, as the first field of a request.
    private static func naming(_ image: String) -> ProtobufMessage {
        var spec = ProtobufMessage()
        spec.add(1, image)
        var request = ProtobufMessage()
        request.add(1, spec)
        return request
    }

    private func call(
        _ method: String, _ message: ProtobufMessage, _ milliseconds: Int
    ) throws(RuntimeFailure) -> ProtobufMessage {
        var request = HTTPRequest("http://localhost/\(method)")
        request.method = "POST"
        request.fields = ["Content-Type: application/grpc", "TE: trailers"]
        // Not compressed, and four bytes of length (grpc.io, "gRPC over HTTP2").
        let length = UInt32(clamping: message.bytes.count)
        request.body = [0] + (0..<4).map { UInt8(truncatingIfNeeded: length >> UInt32(24 - 8 * $0)) } + message.bytes
        request.socket = socket
        request.isHTTP2 = true
        request.milliseconds = milliseconds
        let response: HTTPResponse
        do throws(HTTPFailure) { response = try HTTPExchange.perform(request) } catch {
            throw RuntimeFailure(isSocket: true, reason: "\(socket): \(error.reason)")
        }
        let status = response.field("grpc-status") ?? "none"
        guard status == "0" else {
            if status == CRIClient.unimplemented {
                throw RuntimeFailure(isSocket: true, reason: "\(socket): its CRI plugin is off, or not of version v1")
            }
            let text = response.field("grpc-message").map(CRIClient.decoded) ?? "gRPC status \(status)"
            throw RuntimeFailure(reason: text)
        }
        return ProtobufMessage(response.body.dropFirst(5))
    }

    /// A message's text, whose bytes other than printable ASCII are percent-encoded.
    private static func decoded(_ text: String) -> String {
        PercentEncoding.decode(text.utf8).map { String(decoding: $0, as: UTF8.self) } ?? text
    }
}
