// Parses a client's `Accept-Encoding` (RFC 9110 §12.5.3), as far as gzip is concerned.

internal import OCI

package struct AcceptEncoding: Equatable, Sendable {
    /// Weights in thousandths, the field's resolution; nil when the coding is not listed.
    private var gzip: Int?
    private var identity: Int?
    private var anyOther: Int?

    /// Reads all `Accept-Encoding` lines of a request, which form one list.
    package init(_ headers: Headers) {
        headers.forEach { name, value in
            guard name.equalsIgnoringCase("accept-encoding") else { return }
            for element in CommaList(value) { note(element) }
        }
    }

    /// Whether the client accepts gzip with at least the weight of no coding. Without the field no coding is used: many
    /// such clients could not decode it.
    package var prefersGzip: Bool {
        guard let weight = gzip ?? anyOther, weight > 0 else { return false }
        return weight >= identity ?? anyOther ?? 0
    }

    /// Parses `coding [ OWS ";" OWS "q=" weight ]`. For a repeated coding the lower weight counts, and an unreadable
    /// weight is 0: sending no coding is always correct.
    private mutating func note(_ element: UnsafeRawBufferPointer) {
        let semicolon = element.firstIndex(of: 0x3B) ?? element.count
        let coding = element.part(0, semicolon).trimmed
        let weight = semicolon == element.count ? 1000 : Self.weight(element.part(semicolon + 1, element.count).trimmed)
        // RFC 9110 §8.4.1.3: x-gzip means gzip.
        if coding.equalsIgnoringCase("gzip") || coding.equalsIgnoringCase("x-gzip") {
            gzip = min(weight, gzip ?? weight)
        } else if coding.equalsIgnoringCase("identity") {
            identity = min(weight, identity ?? weight)
        } else if coding.equals("*") {
            anyOther = min(weight, anyOther ?? weight)
        }
    }

    /// `q=0.123`, in thousandths (RFC 9110 §12.4.2); 0 for anything else.
    private static func weight(_ text: UnsafeRawBufferPointer) -> Int {
        guard text.count >= 3, text.count <= 7, text.part(0, 2).equalsIgnoringCase("q=") else { return 0 }
        guard text[2] == 0x30 || text[2] == 0x31, text.count == 3 || text[3] == 0x2E else { return 0 }
        var thousandths = text[2] == 0x31 ? 1000 : 0
        var place = 100
        for byte in text.dropFirst(4) {
            guard byte &- 0x30 < 10 else { return 0 }
            thousandths += Int(byte &- 0x30) * place
            place /= 10
        }
        return thousandths <= 1000 ? thousandths : 0
    }
}
