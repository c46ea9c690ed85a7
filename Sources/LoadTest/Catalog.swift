// The images to pull: a text file with one image per line. Every request is formatted here once, so that the test
// itself formats nothing.

import Glibc
import OCI
import Registry

/// One request of a pull, and its expected response.
struct PullStep {
    /// The range of the request in `Catalog.requests`.
    let request: Range<Int>
    let sizeBytes: Int
    let digest: Digest
}

struct CatalogImage {
    /// Index in `Catalog.batches`.
    let batch: Int
    /// Range in `Catalog.steps`, in the order of the requests.
    let steps: Range<Int>
}

/// The images, in the order of the file, and the requests that pull them.
///
/// A line is `batch path size digest path size digest …`: `batch` is the pattern that prunes all images of a batch,
/// `path` is the path of a request. Lines beginning with `#` are comments.
final class Catalog {
    private(set) var images: [CatalogImage] = []
    private(set) var steps: [PullStep] = []
    private(set) var batches: [String] = []
    private var bytes: [UInt8] = []
    /// Its address stays valid for the life of the catalog, so that requests can be sent from it at any time.
    private(set) var requests = UnsafeRawBufferPointer(start: nil, count: 0)

    struct Mistake: Error, CustomStringConvertible {
        let line: Int
        let description: String
    }

    init(_ text: String, host: String) throws(Mistake) {
        var numbers: [Substring: Int] = [:]
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            guard !line.isEmpty, !line.hasPrefix("#") else { continue }
            let words = line.split(separator: " ")
            guard words.count > 1, words.count % 3 == 1 else {
                throw Mistake(line: index + 1, description: "not 'batch path size digest …'")
            }
            let begin = steps.count
            for first in stride(from: 1, to: words.count, by: 3) {
                guard let size = OutsideNumber.decimal(words[first + 1], in: 0...Int(ContentSize.maximum)),
                    let digest = Digest(words[first + 2])
                else {
                    throw Mistake(line: index + 1, description: "\(words[first]): no size and digest")
                }
                steps.append(PullStep(request: add(String(words[first]), host), sizeBytes: size, digest: digest))
            }
            let batch = numbers[words[0]] ?? batches.count
            if batch == batches.count {
                numbers[words[0]] = batch
                batches.append(String(words[0]))
            }
            images.append(CatalogImage(batch: batch, steps: begin..<steps.count))
        }
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        copy.copyBytes(from: bytes)
        requests = UnsafeRawBufferPointer(copy)
        bytes = []
    }

    deinit { requests.deallocate() }

    func request(_ step: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: requests[steps[step].request])
    }

    /// The path of a request, for messages.
    func path(_ step: Int) -> String {
        String(decoding: request(step).drop { $0 != 0x20 }.dropFirst().prefix { $0 != 0x20 }, as: UTF8.self)
    }

    private func add(_ path: String, _ host: String) -> Range<Int> {
        let begin = bytes.count
        bytes += Array("GET \(path) HTTP/1.1\r\nHost: \(host)\r\n\(Catalog.fields)\r\n".utf8)
        return begin..<bytes.count
    }

    /// The fields that containerd sends, including its long Accept line.
    private static let fields = """
        User-Agent: containerd/1.6.20 (ociregistry-load)\r
        Accept: application/vnd.docker.distribution.manifest.v2+json, \
        application/vnd.docker.distribution.manifest.list.v2+json, \
        application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*\r
        Accept-Encoding: gzip\r

        """
}
