// A TOML document as a tree that keeps what text is inserted by: the order of keys, and the place of each.

/// A value of TOML 1.0.
enum TOMLValue: Equatable {
    case string(String)
    case integer(Int)
    case boolean(Bool)
    /// A float or a date, as it is written: no setting that is read here is one.
    case other(String)
    case array([TOMLValue])
    case table(TOMLTable)
    /// Tables under `[[name]]`.
    case tables([TOMLTable])

    var string: String? {
        if case .string(let text) = self { return text }
        return nil
    }

    var table: TOMLTable? {
        if case .table(let table) = self { return table }
        return nil
    }

    /// The strings of an array; nil where another value is among them.
    var strings: [String]? {
        guard case .array(let items) = self else { return nil }
        let strings = items.compactMap(\.string)
        return strings.count == items.count ? strings : nil
    }

    /// The tables of `[[name]]`, or of an array of inline tables.
    var tables: [TOMLTable]? {
        switch self {
        case .tables(let tables): return tables
        case .array(let items):
            let tables = items.compactMap(\.table)
            return tables.count == items.count ? tables : nil
        default: return nil
        }
    }
}

/// A table: its keys in the order of the file. Equal tables have the same keys and values in any order.
final class TOMLTable: Equatable {
    /// What has made the table, which decides what may still be added to it (TOML 1.0, "Table").
    enum Origin {
        /// As the parent of a header.
        case implicit
        case header
        case dottedKey
        case inline
    }

    /// Where a key and its value are, in bytes.
    struct Place {
        /// From 1.
        let line: Int
        /// The key without the dotted keys before it.
        let key: Int
        /// Empty for a table of a header.
        var value: Range<Int>
        /// Whether it is inside braces.
        let isInline: Bool
    }

    var origin: Origin
    private(set) var keys: [String] = []
    private var values: [String: TOMLValue] = [:]
    private var places: [String: Place] = [:]

    init(_ origin: Origin) { self.origin = origin }

    var isEmpty: Bool { keys.isEmpty }

    subscript(key: String) -> TOMLValue? { values[key] }

    func place(of key: String) -> Place? { places[key] }

    /// - Precondition: a new key, or another value of the same.
    func set(_ key: String, _ value: TOMLValue, _ place: Place) {
        if values.updateValue(value, forKey: key) == nil {
            keys.append(key)
            places[key] = place
        }
    }

    /// The value at the end of a path of tables.
    func value(at path: [String]) -> TOMLValue? {
        guard let last = path.last else { return .table(self) }
        return table(at: path.dropLast())?[last]
    }

    func table(at path: some Sequence<String>) -> TOMLTable? {
        var table = self
        for key in path {
            guard let next = table[key]?.table else { return nil }
            table = next
        }
        return table
    }

    static func == (left: TOMLTable, right: TOMLTable) -> Bool { left === right || left.values == right.values }
}

/// A file's content with its headers in order.
struct TOMLDocument {
    /// `[a.b]` or `[[a.b]]`.
    struct Header {
        let path: [String]
        let line: Int
        /// Where its line begins.
        let start: Int
        /// Where the line behind it begins; the end of the text for the last line.
        let end: Int
    }

    let root: TOMLTable
    let headers: [Header]
}

/// Why a text is no TOML, and where. Line and column are from 1; the column counts bytes.
struct TOMLFailure: Error, Equatable {
    let line: Int
    let column: Int
    let reason: String
}
