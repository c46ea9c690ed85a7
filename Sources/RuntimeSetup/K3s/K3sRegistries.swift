// registries.yaml of k3s: it makes containerd's hosts.toml files of it at each start.

internal import Configuration

enum K3sRegistries {
    static let path = "/etc/rancher/k3s/registries.yaml"

    /// The entries of a mapping; empty for a null or another value.
    static func entries(_ node: YAMLNode?) -> [YAMLNode.Entry] {
        if case .mapping(let entries)? = node?.content { return entries }
        return []
    }

    static func value(_ key: String, in node: YAMLNode?) -> YAMLNode? {
        entries(node).first { $0.key == key }?.value
    }

    static func strings(_ node: YAMLNode?) -> [String] {
        guard case .sequence(let items)? = node?.content else { return [] }
        return items.compactMap { item in
            if case .scalar(let text, _) = item.content { return text }
            return nil
        }
    }

    static func read(_ bytes: [UInt8], of place: String) throws(Refusal) -> YAMLNode? {
        do {
            return try YAMLReader.read(bytes)
        } catch {
            throw Refusal("\(place):\(error.line): \(error.reason)")
        }
    }

    static func findings(_ files: NodeFiles) -> [RuntimeFinding] {
        let place = files.place(of: path)
        do throws(Refusal) {
            guard let bytes = try files.read(path) else { return [] }
            let root = try read(bytes, of: place)
            let mirrors = entries(value("mirrors", in: root))
            let configs = value("configs", in: root)
            guard !mirrors.isEmpty else {
                return [
                    .init(
                        runtime: .k3s, file: place, problem: "has no mirrors", remedy: "run 'ociregistry setup k3s'")
                ]
            }
            return mirrors.map { mirror in
                let endpoints = strings(value("endpoint", in: mirror.value))
                let missing = endpoints.lazy.compactMap { missingAuthority(of: $0, configs, files) }.first
                return .init(
                    runtime: .k3s, file: place, registries: [mirror.key], mirrors: endpoints,
                    problem: missing.map { "the certificate authority \($0) is missing" }
                        ?? (endpoints.isEmpty ? "\(place):\(mirror.keyLine): \(mirror.key) has no endpoint" : nil),
                    remedy: missing == nil ? nil : "put the file there, or run setup again")
            }
        } catch {
            return [
                .init(
                    runtime: .k3s, file: place, problem: error.reason,
                    remedy: "correct the file: k3s does not start with it")
            ]
        }
    }

    private static func missingAuthority(of endpoint: String, _ configs: YAMLNode?, _ files: NodeFiles) -> String? {
        guard let address = try? EndpointAddress(parsing: endpoint),
            case .scalar(let path, _)? = value(
                "ca_file", in: value("tls", in: value(address.authority, in: configs)))?.content
        else { return nil }
        return files.exists(path) ? nil : path
    }
}
