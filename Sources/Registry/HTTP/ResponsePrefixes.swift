// The first piece of a response head: the status line and the fields of every response. It depends only on the status,
// the second and whether the connection closes, so all common ones are prepared, and the date in them is overwritten in
// place once a second. They are raw memory rather than arrays, so that using one costs no reference counting.

package final class ResponsePrefixes {
    /// The statuses of this server with their phrases (RFC 9110 §15, RFC 6585, RFC 5842 for 508). Searched in order, so
    /// the frequent ones come first.
    private static let phrases: [(status: Int, phrase: StaticString)] = [
        (200, "OK"), (206, "Partial Content"), (304, "Not Modified"), (404, "Not Found"),
        (400, "Bad Request"), (401, "Unauthorized"), (403, "Forbidden"), (405, "Method Not Allowed"),
        (408, "Request Timeout"), (413, "Content Too Large"), (416, "Range Not Satisfiable"),
        (422, "Unprocessable Content"), (429, "Too Many Requests"), (431, "Request Header Fields Too Large"),
        (500, "Internal Server Error"),
        (501, "Not Implemented"), (502, "Bad Gateway"), (503, "Service Unavailable"),
        (505, "HTTP Version Not Supported"), (508, "Loop Detected"),
    ]

    private struct Entry {
        var status: Int
        /// Offset of the date; the same in both buffers.
        var dateOffset: Int
        var keepOpen: UnsafeMutableRawBufferPointer
        var close: UnsafeMutableRawBufferPointer
    }

    /// The entries of `phrases`, followed by those of other statuses used so far.
    private var entries: [Entry] = []
    private var date: [UInt8]
    private var second: Int64

    package init(unixSeconds: Int64) {
        date = HTTPDate.format(unixSeconds: unixSeconds)
        second = unixSeconds
        for (status, phrase) in Self.phrases { add(status: status, phrase: phrase) }
    }

    deinit {
        for entry in entries {
            entry.keepOpen.deallocate()
            entry.close.deallocate()
        }
    }

    /// Updates the date.
    package func refresh(unixSeconds: Int64) {
        guard unixSeconds != second else { return }
        second = unixSeconds
        date = HTTPDate.format(unixSeconds: unixSeconds)
        for entry in entries {
            let span = entry.dateOffset..<entry.dateOffset + HTTPDate.byteCount
            for piece in [entry.keepOpen, entry.close] {
                UnsafeMutableRawBufferPointer(rebasing: piece[span]).copyBytes(from: date)
            }
        }
    }

    /// Status line, `Date`, `Docker-Distribution-Api-Version` and, for `close`, `Connection: close`; the fields follow.
    /// `status` is a final one (200 to 599). The bytes change with the date.
    package func bytes(status: Int, close: Bool) -> UnsafeRawBufferPointer {
        for index in entries.indices where entries[index].status == status {
            return UnsafeRawBufferPointer(close ? entries[index].close : entries[index].keepOpen)
        }
        // RFC 9112 §4: the phrase may be empty.
        add(status: status, phrase: "")
        return bytes(status: status, close: close)
    }

    private func add(status: Int, phrase: StaticString) {
        var bytes = Array("HTTP/1.1 \(status) \(phrase)\r\nDate: ".utf8)
        let dateOffset = bytes.count
        bytes += date
        bytes += Array("\r\nDocker-Distribution-Api-Version: registry/2.0\r\n".utf8)
        entries.append(
            Entry(
                status: status, dateOffset: dateOffset, keepOpen: Self.memory(bytes),
                close: Self.memory(bytes + Array("Connection: close\r\n".utf8))))
    }

    private static func memory(_ bytes: [UInt8]) -> UnsafeMutableRawBufferPointer {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
        memory.copyBytes(from: bytes)
        return memory
    }
}
