// Values of the Kubernetes manifests that follow from the server's own.

import TestSupport
import Testing

@testable import App

@Suite struct PodValuesTests {
    private static let folder = "deploy/kubernetes"

    /// The values of a key, wherever it is in a file.
    private func values(_ key: String, in file: String) throws -> [Substring] {
        try SourceTree.text("\(Self.folder)/\(file)").split(separator: "\n").compactMap { line in
            let text = line.drop { $0 == " " || $0 == "-" }
            return text.hasPrefix("\(key): ") ? text.dropFirst(key.count + 2) : nil
        }
    }

    @Test("the kubelet waits longer for the end of a pod than its hook and the server take at most")
    func stop() throws {
        func seconds(_ key: String, in file: String) throws -> UInt64 {
            let value = try #require(values(key, in: file).first)
            return try #require(UInt64(value))
        }
        let limit = try seconds("terminationGracePeriodSeconds", in: "base/pod.yaml")
        let pause = try seconds("seconds", in: "overlays/cluster/stateful-set.yaml")
        #expect((limit - pause) * 1000 > Running.drainMilliseconds + Running.closeMilliseconds)
    }

    @Test("every image of the manifests has the version of this program") func version() throws {
        let files = SourceTree.paths(under: [Self.folder], suffix: ".yaml").map {
            String($0.dropFirst(Self.folder.count + 1))
        }
        let images = try files.flatMap { try values("image", in: $0) }
        #expect(images.count == 2)
        #expect(images.allSatisfy { $0 == "registry.example/ociregistry:\(Version.text)" })
    }
}
