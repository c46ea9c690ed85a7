// The entry points of the fuzzer: every parser of bytes from outside, with the same signature. An ordinary test replays
// the inputs kept in Tests/Corpus through the same entries.

import ImageArchive
import OCI
import Registry

/// A parser that takes any bytes. It ends the process when the parser crashes or returns an invalid result.
package struct ParserEntry: Sendable {
    /// The name of its folder in Tests/Corpus.
    package let name: String
    package let run: @Sendable (UnsafeRawBufferPointer) -> Void

    init(_ name: String, _ run: @escaping @Sendable (UnsafeRawBufferPointer) -> Void) {
        self.name = name
        self.run = run
    }

    package static let all: [ParserEntry] = [
        ParserEntry("access", FileEntries.access), ParserEntry("archive", ArchiveEntry.run),
        ParserEntry("aws-answer", AWSEntries.answer), ParserEntry("aws-profiles", AWSEntries.profiles),
        ParserEntry("challenge", UpstreamEntries.challenge), ParserEntry("config", FileEntries.config),
        ParserEntry("docker", CredentialEntries.docker), ParserEntry("head", UpstreamEntries.head),
        ParserEntry("list", FileEntries.list),
        ParserEntry("manifest", UpstreamEntries.manifest), ParserEntry("names", TextEntries.names),
        ParserEntry("news", FileEntries.news), ParserEntry("numbers", NumberEntries.run),
        ParserEntry("pattern", TextEntries.pattern), ParserEntry("proofs", FileEntries.proofs),
        ParserEntry("pull", NumberEntries.pull),
        ParserEntry("range", RequestEntries.range), ParserEntry("request", RequestEntries.request),
        ParserEntry("token", UpstreamEntries.token), ParserEntry("url", UpstreamEntries.url),
    ]
}

/// Reads parameters from the front of an input.
struct InputReader {
    private(set) var rest: UnsafeRawBufferPointer

    init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

    /// The next byte; 0 at the end.
    mutating func byte() -> UInt8 {
        guard let first = rest.first else { return 0 }
        rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst())
        return first
    }

    /// Eight bytes, little-endian.
    mutating func number() -> Int64 {
        var value: UInt64 = 0
        for shift in 0..<UInt64(8) { value |= UInt64(byte()) << (8 * shift) }
        return Int64(bitPattern: value)
    }

    /// A number within the range of file and blob sizes.
    mutating func size() -> Int64 { ContentSize.nearest(number()) }

    var array: [UInt8] { Array(rest) }
}

/// Ends the process with a reason, so that the fuzzer reports it.
func require(_ condition: Bool, _ reason: @autoclosure () -> String) {
    if !condition { fatalError(reason()) }
}
