// dockerd by its HTTP API, and podman by its command line.

internal import Registry

/// dockerd (Docker Engine API). Paths without a version are those of the daemon's own.
struct DockerClient: RuntimeClient {
    let socket: String

    private struct Version: Decodable {
        let Version: String
    }

    /// A line of a pull's progress.
    private struct Progress: Decodable {
        let error: String?
    }

    func version() throws(RuntimeFailure) -> String {
        let response = try ask("/version", "GET", milliseconds: 10_000)
        let version = NDJSONLine.decode(response.body, as: Version.self)
        return "docker \(version?.Version ?? "")"
    }

    func pull(_ image: String) throws(RuntimeFailure) {
        // An image's name has no character that a query would have to escape.
        let parts = image.split(separator: ":")
        guard let tag = parts.last, parts.count > 1 else { throw RuntimeFailure(reason: "\(image) has no tag") }
        let name = image.dropLast(tag.count + 1)
        let response = try ask(
            "/images/create?fromImage=\(name)&tag=\(tag)", "POST", milliseconds: CRIClient.pullMilliseconds)
        guard response.status == 200 else { throw RuntimeFailure(reason: DockerClient.message(response)) }
        for line in response.body.split(separator: 0x0A) {
            if let error = NDJSONLine.decode(line, as: Progress.self)?.error {
                throw RuntimeFailure(reason: error)
            }
        }
    }

    func remove(_ image: String) { _ = try? ask("/images/\(image)", "DELETE", milliseconds: 10_000) }

    func configurationProblem() -> (problem: String, remedy: String)? { nil }

    private struct Message: Decodable {
        let message: String
    }

    private static func message(_ response: HTTPResponse) -> String {
        NDJSONLine.decode(response.body, as: Message.self)?.message ?? "status \(response.status)"
    }

    private func ask(_ path: String, _ method: String, milliseconds: Int) throws(RuntimeFailure) -> HTTPResponse {
        var request = HTTPRequest("http://localhost\(path)")
        request.method = method
        request.socket = socket
        request.milliseconds = milliseconds
        do throws(HTTPFailure) { return try HTTPExchange.perform(request) } catch {
            throw RuntimeFailure(isSocket: true, reason: "\(socket): \(error.reason)")
        }
    }
}

/// podman, which reads the same files as CRI-O does.
struct PodmanClient: RuntimeClient {
    /// The program and the options before each command.
    let command: [String]

    func version() throws(RuntimeFailure) -> String {
        let text = try run(["version", "--format", "{{.Client.Version}}"])
        return "podman \(text.filter { !$0.isNewline })"
    }

    func pull(_ image: String) throws(RuntimeFailure) { _ = try run(["pull", "--quiet", image]) }
    func remove(_ image: String) { _ = try? run(["rmi", "--force", image]) }
    func configurationProblem() -> (problem: String, remedy: String)? { nil }

    private func run(_ arguments: [String]) throws(RuntimeFailure) -> String {
        var limits = ChildLimits()
        limits.milliseconds = UInt64(clamping: CRIClient.pullMilliseconds)
        var result: Result<ChildOutput, ChildFailure>?
        do throws(LoopError) {
            let loop = try EventLoop()
            let programs = ChildPrograms(on: loop, limits: limits)
            programs.run(command + arguments) {
                result = $0
                programs.close()
                loop.stop()
            }
            loop.run()
            loop.close()
        } catch {
            throw RuntimeFailure(isSocket: true, reason: "\(error)")
        }
        switch result {
        case .success(let output) where output.ending == .exited(status: 0):
            return String(decoding: output.stdout, as: UTF8.self)
        case .success(let output):
            let text = String(decoding: output.stderr, as: UTF8.self)
            throw RuntimeFailure(reason: text.isEmpty ? "\(output)" : text)
        case .failure(let failure): throw RuntimeFailure(isSocket: failure.kind == .notStarted, reason: failure.reason)
        case nil: throw RuntimeFailure(reason: "podman has not ended")
        }
    }
}
