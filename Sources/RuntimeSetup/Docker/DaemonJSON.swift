// daemon.json of dockerd, whose registry mirrors are for Docker Hub alone.

internal import Configuration

enum DaemonJSON {
    static let path = "/etc/docker/daemon.json"
    static let key = "registry-mirrors"

    /// Nil for an empty file, with which dockerd starts as it does without one.
    static func read(_ bytes: [UInt8], of place: String) throws(Refusal) -> JSONText? {
        if bytes.allSatisfy({ [0x20, 0x09, 0x0A, 0x0D].contains($0) }) { return nil }
        guard let text = JSONText(bytes) else { throw Refusal("\(place): not a JSON object") }
        return text
    }

    /// The mirrors of a file; nil when the key is missing.
    static func mirrors(of text: JSONText, _ place: String) throws(Refusal) -> [String]? {
        guard let value = text.values[key] else { return nil }
        let line = text.members.last { $0.key == key }?.line ?? 1
        if case .null = value { return [] }
        guard case .array(let items) = value else {
            throw Refusal("\(place):\(line): \(key): must be a list of URLs")
        }
        return try items.map { item throws(Refusal) in
            guard case .string(let url) = item else {
                throw Refusal("\(place):\(line): \(key): must be a list of URLs")
            }
            return url
        }
    }

    static func findings(_ files: NodeFiles) -> [RuntimeFinding] {
        let place = files.place(of: path)
        do throws(Refusal) {
            guard let bytes = try files.read(path), let text = try read(bytes, of: place) else { return [] }
            guard let mirrors = try mirrors(of: text, place), !mirrors.isEmpty else {
                return [
                    .init(
                        runtime: .docker, file: place, problem: "has no \(key)",
                        remedy: "run 'ociregistry setup docker'")
                ]
            }
            return [.init(runtime: .docker, file: place, registries: ["docker.io"], mirrors: mirrors)]
        } catch {
            return [
                .init(
                    runtime: .docker, file: place, problem: error.reason,
                    remedy: "correct the file: dockerd does not start with it")
            ]
        }
    }
}
