// What a server tells its operator while something goes on: a line of JSON for each thing. Both ends are this program,
// and for whoever reads along with curl the names say what they mean.

internal import FoundationEssentials

/// One thing told, as a line.
package enum NewsLine {
    package static func encode(_ news: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Strings and whole numbers, which are what news consist of, can always be encoded.
        guard let data = try? encoder.encode(news) else { return [] }
        return Array(data) + [0x0A]
    }

    /// Nil for what is no such line.
    package static func decode<News: Decodable>(_ line: some Sequence<UInt8>, as type: News.Type) -> News? {
        try? JSONDecoder().decode(type, from: Data(line))
    }
}
