// The numbers that a sub-command reads from a server: lengths, chunk sizes, progress.

import TestSupport
import Testing

@testable import App
@testable import Registry

@Suite struct ClientNumberTests {
    @Test(
        "a chunk size that is not a bounded hexadecimal number is a broken response",
        arguments: [
            "-1", "+5", "", " 5", "7fffffffffffffff", "8000000000000000", "ffffffffffffffff", "ffffffffffffffffff",
            "fffffff1", "5;x=y", "g",
        ])
    func chunkSizes(_ size: String) {
        var answer = FollowedAnswer()
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\(size)\r\nhello\r\n0\r\n\r\n"
        #expect(throws: (any Error).self) { try answer.take(Array(text.utf8)[...]) { _ in } }
        #expect(!answer.isWhole)
    }

    @Test("a chunked response is assembled however its bytes are split")
    func chunks() throws {
        let text = Array("HTTP/1.1 200 OK\r\n\r\n6\r\nhello\n\r\n0c\r\nyou\nand you\n\r\n0\r\n\r\n".utf8)
        for cut in text.indices {
            var answer = FollowedAnswer()
            var lines: [String] = []
            for piece in [text[..<cut], text[cut...]] {
                try answer.take(piece) { lines.append(String(decoding: $0, as: UTF8.self)) }
            }
            #expect(lines == ["hello", "you", "and you"] && answer.isWhole)
        }
    }

    @Test(
        "a Content-Length other than the body's length is a broken response",
        arguments: Extremes.texts.filter { $0 != " 5" } + ["4", "6"])
    func lengths(_ length: String) throws {
        let answer = Array("HTTP/1.1 200 OK\r\nContent-Length: \(length)\r\n\r\nhello".utf8)
        #expect(throws: Failure.self) { try AdminClient.body(of: answer) }
        for none in ["Content-Length:", "Content-Length", "X: 5"] {
            let answer = Array("HTTP/1.1 200 OK\r\n\(none)\r\n\r\nhello".utf8)
            #expect(throws: Failure.self) { try AdminClient.body(of: answer) }
        }
        let right = Array("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".utf8)
        #expect(try AdminClient.body(of: right) == Array("hello".utf8))
    }

    @Test("the progress bar is drawn for any numbers")
    func progress() {
        for done in Extremes.numbers {
            for all in Extremes.numbers {
                #expect((0...ProgressLines.barColumns).contains(ProgressLines.filledColumns(done, of: all)))
                var progress = LoadProgress()
                (progress.loaded, progress.present, progress.failed) = (Int(done), Int(all), Int(done))
                _ = progress.ended
            }
            #expect(ByteText.megabytes(done).contains("."))
        }
        let halves = ProgressLines.filledColumns(.max / 2, of: .max)
        #expect((ProgressLines.barColumns / 2 - 1...ProgressLines.barColumns / 2).contains(halves))
    }

    @Test("progress lines with numbers out of range are ignored", arguments: Extremes.json)
    func lines(_ number: String) {
        let names = ["images", "loaded", "present", "failed", "wantedBytes", "arrivedBytes"]
        let body = names.map { "\"\($0)\":\(number)" }.joined(separator: ",")
        let line = Array("{\"progress\":{\"_0\":{\(body)}}}".utf8)
        if case .progress(let progress)? = NDJSONLine.decode(line, as: LoadRunEvent.self) { _ = progress.ended }
    }
}
