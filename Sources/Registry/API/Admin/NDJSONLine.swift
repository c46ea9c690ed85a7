// The events of a long admin command: one JSON object per line (NDJSON). Both ends are this program; the keys are plain
// words, since people read them with curl.

internal import FoundationEssentials

/// One event as a line.
package enum NDJSONLine {
    package static func encode(_ event: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Strings and whole numbers, the only contents of events, can always be encoded.
        guard let data = try? encoder.encode(event) else { return [] }
        return Array(data) + [0x0A]
    }

    /// Nil when the line is not such an event.
    package static func decode<Event: Decodable>(_ line: some Sequence<UInt8>, as type: Event.Type) -> Event? {
        try? JSONDecoder().decode(type, from: Data(line))
    }
}
