// Reads a YAML document as a small tree with line numbers, so that every error can state its place. libyaml (the parser
// inside PyYAML and Yams) parses the grammar; this adds the limits, and refuses the risky parts of YAML that a
// configuration does not need: aliases (which can multiply the content), tags, several documents, and duplicate keys,
// of which the last would silently win.

internal import CYAML

/// Converts libyaml's events to a `YAMLNode`, with the limits below.
package struct YAMLReader: ~Copyable {
    /// Enough for thousands of registries.
    package static let maximumBytes = 1024 * 1024
    /// The deepest key of a configuration is at level four; deeper nesting can only exhaust a stack.
    package static let maximumDepth = 16

    /// Why a document is invalid, and on which line (from 1).
    package struct Failure: Error, Equatable {
        package let line: Int
        package let reason: String
    }

    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private var depth = 0

    /// Reads one document. Nil when there is none (an empty file, or only comments).
    package static func read(_ bytes: [UInt8]) throws(Failure) -> YAMLNode? {
        guard bytes.count <= maximumBytes else {
            throw Failure(line: 1, reason: "larger than \(maximumBytes) bytes")
        }
        // A copy that outlives every call into libyaml, which keeps a pointer to its input.
        let input = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(bytes.count, 1))
        defer { input.deallocate() }
        _ = input.initialize(from: bytes)
        var reader = try YAMLReader()
        yaml_parser_set_input_string(reader.parser, input.baseAddress, bytes.count)
        return try reader.readStream()
    }

    private init() throws(Failure) {
        parser = .allocate(capacity: 1)
        guard yaml_parser_initialize(parser) == 1 else {
            parser.deallocate()
            throw Failure(line: 1, reason: "no memory to read it")
        }
    }

    deinit {
        yaml_parser_delete(parser)
        parser.deallocate()
    }

    private mutating func readStream() throws(Failure) -> YAMLNode? {
        _ = try next()  // the stream's start
        guard try next().kind != YAML_STREAM_END_EVENT else { return nil }
        let root = try readNode(try next())
        _ = try next()  // the document's end
        let end = try next()
        guard end.kind == YAML_STREAM_END_EVENT else {
            throw Failure(line: end.line, reason: "a second YAML document; only one is read")
        }
        return root
    }

    private mutating func readNode(_ event: Event) throws(Failure) -> YAMLNode {
        if event.kind == YAML_ALIAS_EVENT || event.hasAnchor {
            throw Failure(line: event.line, reason: "YAML anchors and aliases are not supported; write the value out")
        }
        if let tag = event.tag {
            throw Failure(line: event.line, reason: "YAML tags are not supported: \(tag)")
        }
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.maximumDepth else {
            throw Failure(line: event.line, reason: "nested more than \(Self.maximumDepth) deep")
        }
        return YAMLNode(line: event.line, content: try readContent(event))
    }

    private mutating func readContent(_ event: Event) throws(Failure) -> YAMLNode.Content {
        switch event.kind {
        case YAML_SCALAR_EVENT: .scalar(event.text, isPlain: event.isPlain)
        case YAML_SEQUENCE_START_EVENT: .sequence(try readSequence())
        case YAML_MAPPING_START_EVENT: .mapping(try readMapping())
        default: throw Failure(line: event.line, reason: "not a YAML value")
        }
    }

    private mutating func readSequence() throws(Failure) -> [YAMLNode] {
        var items: [YAMLNode] = []
        while true {
            let event = try next()
            if event.kind == YAML_SEQUENCE_END_EVENT { return items }
            items.append(try readNode(event))
        }
    }

    private mutating func readMapping() throws(Failure) -> [YAMLNode.Entry] {
        var entries: [YAMLNode.Entry] = []
        var lines: [String: Int] = [:]
        while true {
            let event = try next()
            if event.kind == YAML_MAPPING_END_EVENT { return entries }
            guard case .scalar(let key, _) = try readNode(event).content else {
                throw Failure(line: event.line, reason: "a key must be a plain word")
            }
            if let first = lines.updateValue(event.line, forKey: key) {
                throw Failure(line: event.line, reason: "key \(key) is here twice, first on line \(first)")
            }
            entries.append(.init(key: key, keyLine: event.line, value: try readNode(try next())))
        }
    }
}

// MARK: - Events

extension YAMLReader {
    /// The needed parts of a `yaml_event_t`, copied so that libyaml's memory is freed at once.
    private struct Event {
        let kind: yaml_event_type_t
        let line: Int
        var text = ""
        var isPlain = false
        var hasAnchor = false
        var tag: String?
    }

    private func next() throws(Failure) -> Event {
        var raw = yaml_event_t()
        guard yaml_parser_parse(parser, &raw) == 1 else { throw failure() }
        defer { yaml_event_delete(&raw) }
        var event = Event(kind: raw.type, line: Int(raw.start_mark.line) + 1)
        switch raw.type {
        case YAML_SCALAR_EVENT:
            let scalar = raw.data.scalar
            event.text = String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
            event.isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE
            event.hasAnchor = scalar.anchor != nil
            event.tag = Self.text(scalar.tag)
        case YAML_SEQUENCE_START_EVENT:
            event.hasAnchor = raw.data.sequence_start.anchor != nil
            event.tag = Self.text(raw.data.sequence_start.tag)
        case YAML_MAPPING_START_EVENT:
            event.hasAnchor = raw.data.mapping_start.anchor != nil
            event.tag = Self.text(raw.data.mapping_start.tag)
        default: break
        }
        return event
    }

    private static func text(_ bytes: UnsafeMutablePointer<yaml_char_t>?) -> String? {
        bytes.map { String(cString: $0) }
    }

    /// libyaml's error message. Encoding errors have an offset instead of a line.
    private func failure() -> Failure {
        let problem = parser.pointee.problem.map { String(cString: $0) } ?? "no memory to read it"
        let hasLine = parser.pointee.error != YAML_READER_ERROR
        return Failure(
            line: hasLine ? Int(parser.pointee.problem_mark.line) + 1 : Int(parser.pointee.mark.line) + 1,
            reason: "not YAML: \(problem)")
    }
}

/// A value and the line (from 1) on which it starts.
package struct YAMLNode: Equatable, Sendable {
    package enum Content: Equatable, Sendable {
        /// `isPlain`: written without quotes, so that `null` and `~` mean no value.
        case scalar(String, isPlain: Bool)
        case sequence([YAMLNode])
        /// In the order of the file; no duplicate keys.
        case mapping([Entry])
    }

    /// One key of a mapping with its value.
    package struct Entry: Equatable, Sendable {
        package let key: String
        package let keyLine: Int
        package let value: YAMLNode
    }

    package let line: Int
    package let content: Content

    /// Whether there is no value, or `null` in one of its spellings (YAML 1.2.2 §10.2.1.1).
    package var isNull: Bool {
        if case .scalar(let text, isPlain: true) = content { return ["", "~", "null", "Null", "NULL"].contains(text) }
        return false
    }

    /// Whether the value is null, an empty text, an empty list or an empty mapping.
    package var isEmpty: Bool {
        switch content {
        case .scalar(let text, _): isNull || text.isEmpty
        case .sequence(let items): items.isEmpty
        case .mapping(let entries): entries.isEmpty
        }
    }
}
