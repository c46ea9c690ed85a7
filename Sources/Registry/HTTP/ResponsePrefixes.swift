// The first of the two pieces a response head is sent in: status line and the fields every response carries. It
// depends on nothing but the status, the second and whether the connection closes, so all common ones are kept
// ready, and once a second the date in them is overwritten in place.

package struct ResponsePrefixes {
    /// The statuses this server gives, and their phrases (RFC 9110 §15, RFC 6585, RFC 5842 for 508). Searched in
    /// order, so the frequent ones lead.
    private static let phrases: [(status: Int, phrase: StaticString)] = [
        (200, "OK"), (206, "Partial Content"), (304, "Not Modified"), (404, "Not Found"),
        (400, "Bad Request"), (401, "Unauthorized"), (403, "Forbidden"), (405, "Method Not Allowed"),
        (408, "Request Timeout"), (413, "Content Too Large"), (416, "Range Not Satisfiable"),
        (429, "Too Many Requests"), (431, "Request Header Fields Too Large"), (500, "Internal Server Error"),
        (501, "Not Implemented"), (502, "Bad Gateway"), (503, "Service Unavailable"),
        (505, "HTTP Version Not Supported"), (508, "Loop Detected"),
    ]

    private struct Entry {
        var status: Int
        /// Where the date stands; the same in both.
        var dateOffset: Int
        var keepOpen: [UInt8]
        var close: [UInt8]
    }

    private var entries: [Entry]
    private var date: [UInt8]
    private var second: Int64

    package init(unixSeconds: Int64) {
        let date = HTTPDate.format(unixSeconds: unixSeconds)
        entries = Self.phrases.map { Self.entry(status: $0.status, phrase: $0.phrase, date: date) }
        self.date = date
        second = unixSeconds
    }

    /// Brings the date up to now. A piece still held by a write in progress keeps its own.
    package mutating func refresh(unixSeconds: Int64) {
        guard unixSeconds != second else { return }
        second = unixSeconds
        date = HTTPDate.format(unixSeconds: unixSeconds)
        for index in entries.indices {
            let span = entries[index].dateOffset..<entries[index].dateOffset + HTTPDate.byteCount
            entries[index].keepOpen.replaceSubrange(span, with: date)
            entries[index].close.replaceSubrange(span, with: date)
        }
    }

    /// Status line, `Date`, `Docker-Distribution-Api-Version` and, to close, `Connection: close`; the fields follow.
    /// `status` is a final one (200 to 599).
    package func bytes(status: Int, close: Bool) -> [UInt8] {
        // By index: to walk the entries themselves would hold and let go of both pieces of each.
        for index in entries.indices where entries[index].status == status {
            return close ? entries[index].close : entries[index].keepOpen
        }
        // RFC 9112 §4: the phrase may be empty.
        let entry = Self.entry(status: status, phrase: "", date: date)
        return close ? entry.close : entry.keepOpen
    }

    private static func entry(status: Int, phrase: StaticString, date: [UInt8]) -> Entry {
        var bytes = Array("HTTP/1.1 \(status) \(phrase)\r\nDate: ".utf8)
        let dateOffset = bytes.count
        bytes.append(contentsOf: date)
        bytes.append(contentsOf: "\r\nDocker-Distribution-Api-Version: registry/2.0\r\n".utf8)
        let close = bytes + Array("Connection: close\r\n".utf8)
        return Entry(status: status, dateOffset: dateOffset, keepOpen: bytes, close: close)
    }
}
