// The inputs kept for the fuzzer are run on every test: those that have found something stay found.

import Foundation
import ParserFuzz
import TestSupport
import Testing

@Suite struct CorpusTests {
    private static let folder = "\(Checkout.root)/Tests/Corpus"

    @Test("every parser handles its kept corpus inputs", arguments: ParserEntry.all.map(\.name))
    func inputs(_ name: String) throws {
        let parser = try #require(ParserEntry.all.first { $0.name == name })
        let files = try FileManager.default.contentsOfDirectory(atPath: "\(Self.folder)/\(name)").sorted()
        #expect(!files.isEmpty)
        for file in files {
            let input = try #require(FileManager.default.contents(atPath: "\(Self.folder)/\(name)/\(file)"))
            input.withUnsafeBytes(parser.run)
            // And cut short anywhere.
            for count in stride(from: 0, to: min(input.count, 256), by: 7) {
                input.prefix(count).withUnsafeBytes(parser.run)
            }
        }
    }

    @Test("every corpus folder belongs to a parser")
    func folders() throws {
        let folders = try FileManager.default.contentsOfDirectory(atPath: Self.folder)
        #expect(Set(folders) == Set(ParserEntry.all.map(\.name)))
    }
}
