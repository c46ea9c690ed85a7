// Parses the responses that a TestClient receives, as far as they have arrived.

internal import Foundation

extension TestClient {
    /// A response, as far as it has arrived.
    package struct Response {
        package var status = 0
        /// Names in lower case.
        package var headers: [(name: String, value: String)] = []
        package var body: [UInt8] = []
        /// Whether the stated number of bytes, or the last chunk, has arrived.
        package var isComplete = false
        package var isChunked = false
        package var contentLength: Int?

        package init() {}

        package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
        package var text: String { String(decoding: body, as: UTF8.self) }
        /// The `code` of the specification's JSON error.
        package var errorCode: String? {
            let json = try? JSONSerialization.jsonObject(with: Data(body)) as? [String: Any]
            return ((json?["errors"] as? [[String: Any]])?.first)?["code"] as? String
        }
    }
}

/// The responses of one connection.
struct ResponseParser {
    /// One for each request answered so far; the last may be incomplete.
    private(set) var responses: [TestClient.Response] = []
    private var input: [UInt8] = []

    /// Takes further bytes, and parses what is complete.
    /// - Parameter requests: all requests so far, in order.
    mutating func parse(_ bytes: ArraySlice<UInt8>, answering requests: [TestClient.Request]) {
        input += bytes
        while true {
            if responses.last?.isComplete ?? true {
                guard readHead(requests) else { return }
            }
            let last = responses.count - 1
            if responses[last].isComplete { continue }
            if responses[last].isChunked {
                guard readChunks(of: last) else { return }
            } else {
                let wanted = (responses[last].contentLength ?? .max) - responses[last].body.count
                let taken = min(wanted, input.count)
                responses[last].body += input[..<taken]
                input.removeFirst(taken)
                responses[last].isComplete = taken == wanted
                if taken < wanted { return }
            }
        }
    }

    private mutating func readHead(_ requests: [TestClient.Request]) -> Bool {
        guard let end = input.firstRange(of: Array("\r\n\r\n".utf8))?.upperBound else { return false }
        let lines = String(decoding: input[..<end], as: UTF8.self).components(separatedBy: "\r\n").filter {
            !$0.isEmpty
        }
        input.removeFirst(end)
        var response = TestClient.Response()
        response.status = Int(lines[0].split(separator: " ")[1]) ?? 0
        response.headers = lines.dropFirst().map { line in
            let parts = line.split(separator: ":", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
            return (parts[0].lowercased(), parts.count > 1 ? parts[1] : "")
        }
        response.isChunked = response.header("transfer-encoding") == "chunked"
        response.contentLength = response.header("content-length").flatMap { Int($0) }
        let method = requests.count > responses.count ? requests[responses.count].method : "GET"
        response.isComplete =
            method == "HEAD" || response.status == 304
            || (!response.isChunked && response.contentLength == 0)
        responses.append(response)
        return true
    }

    /// - Returns: whether the body of this response is complete.
    private mutating func readChunks(of number: Int) -> Bool {
        while let lineEnd = input.firstRange(of: Array("\r\n".utf8)) {
            let line = String(decoding: input[..<lineEnd.lowerBound], as: UTF8.self)
            guard let size = Int(line, radix: 16), input.count >= lineEnd.upperBound + size + 2 else { return false }
            responses[number].body += input[lineEnd.upperBound..<(lineEnd.upperBound + size)]
            input.removeFirst(lineEnd.upperBound + size + 2)
            if size == 0 {
                responses[number].isComplete = true
                return true
            }
        }
        return false
    }
}
