// The profiles in the SDKs' two files, `~/.aws/config` and `~/.aws/credentials` (AWS SDKs and Tools Reference Guide,
// "Shared config and credentials files").

internal import OCI

/// The profiles of both files.
package struct AWSProfiles: Sendable, Equatable {
    /// Properties by name in lower case.
    package typealias Properties = [String: String]

    /// Largest file accepted, in bytes: a few thousand profiles.
    package static let maximumBytes = 1 << 20

    private var profiles: [String: Properties] = [:]

    /// No profiles.
    package init() {}

    /// Reads the two files' contents; nil for a file that does not exist.
    package init(config: [UInt8]?, credentials: [UInt8]?) throws(CredentialFailure) {
        if let config {
            let sections = try AWSProfiles.sections(config, "config")
            // `[profile default]` takes precedence over `[default]`.
            if let properties = sections["default"] { profiles["default"] = properties }
            for (title, properties) in sections where title.hasPrefix("profile ") {
                profiles[String(title.dropFirst("profile ".count))] = properties
            }
        }
        if let credentials {
            for (name, properties) in try AWSProfiles.sections(credentials, "credentials") {
                profiles[name, default: [:]].merge(properties) { _, new in new }
            }
        }
    }

    package subscript(name: String) -> Properties? { profiles[name] }

    // MARK: The format

    /// The properties of each section, by its title. Sections with the same title are merged.
    ///
    /// The rules are those of the SDK for Go: `#` and `;` begin a comment at the start of a line, anywhere after a
    /// title, and after white space in a value; an indented line continues the value before it.
    private static func sections(
        _ bytes: [UInt8], _ file: String
    ) throws(CredentialFailure) -> [String: Properties] {
        guard bytes.count <= maximumBytes else {
            throw CredentialFailure("the AWS \(file) file is longer than \(maximumBytes) bytes")
        }
        var sections: [String: Properties] = [:]
        var title: String?
        var name: String?
        for (index, line) in bytes.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated() {
            let text = String(decoding: line, as: UTF8.self).withoutEnds
            guard let first = text.utf8.first, first != 0x23, first != 0x3B else { continue }
            let isIndented = line.first == 0x20 || line.first == 0x09
            if isIndented, let title, let name {
                let more = withoutComment(text)
                sections[title, default: [:]][name, default: ""].append("\n\(more)")
            } else if first == 0x5B, let end = text.utf8.firstIndex(of: 0x5D) {
                let found = normalized(String(text[text.utf8.index(after: text.startIndex)..<end]).withoutEnds)
                // A section without properties is a profile as well.
                sections[found] = sections[found] ?? [:]
                (title, name) = (found, nil)
            } else if let title, let pair = property(withoutComment(text)) {
                sections[title, default: [:]][pair.name] = pair.value
                name = pair.name
            } else {
                // A line that is ignored could be a key, and another source would be used in its place.
                throw CredentialFailure(
                    "line \(index + 1) of the AWS \(file) file is neither [section], comment nor name = value")
            }
        }
        return sections
    }

    /// The title with one space after the word `profile`.
    private static func normalized(_ title: String) -> String {
        let words = title.split(maxSplits: 1) { $0 == " " || $0 == "\t" }
        return words.count == 2 && words[0] == "profile" ? "profile \(String(words[1]).withoutEnds)" : title
    }

    /// `name = value`, or with a colon in place of the sign.
    private static func property(_ text: String) -> (name: String, value: String)? {
        guard let sign = text.utf8.firstIndex(where: { $0 == 0x3D || $0 == 0x3A }) else { return nil }
        let name = String(text[..<sign]).withoutEnds.asciiLowercased
        return name.isEmpty ? nil : (name, String(text[text.utf8.index(after: sign)...]).withoutEnds)
    }

    private static func withoutComment(_ text: String) -> String {
        let bytes = Array(text.utf8)
        let comment = bytes.indices.dropFirst().first {
            (bytes[$0] == 0x23 || bytes[$0] == 0x3B) && (bytes[$0 - 1] == 0x20 || bytes[$0 - 1] == 0x09)
        }
        return String(decoding: bytes[..<(comment ?? bytes.endIndex)], as: UTF8.self).withoutEnds
    }

    // MARK: Programs

    /// Most words of a command.
    private static let maximumWords = 256

    /// The words of a `credential_process`, which is run without a shell: separated by white space, with quotes and
    /// backslashes as in a shell. Nil for an open quote and for no words at all.
    static func words(_ command: String) -> [String]? {
        var words: [[UInt8]] = []
        var word: [UInt8]?
        var quote: UInt8?
        var isEscaped = false
        for byte in command.utf8 {
            if isEscaped {
                // Inside quotes a backslash escapes the quote and itself only, so that Windows-like paths survive.
                if quote != nil, byte != 0x22, byte != 0x5C { word?.append(0x5C) }
                word = (word ?? []) + [byte]
                isEscaped = false
            } else if byte == 0x5C, quote != 0x27 {
                isEscaped = true
                word = word ?? []
            } else if let open = quote {
                if byte == open { quote = nil } else { word?.append(byte) }
            } else if byte == 0x22 || byte == 0x27 {
                quote = byte
                word = word ?? []
            } else if byte == 0x20 || byte == 0x09 || byte == 0x0A {
                if let word { words.append(word) }
                word = nil
            } else {
                word = (word ?? []) + [byte]
            }
        }
        if let word { words.append(word) }
        guard quote == nil, !isEscaped, (1...maximumWords).contains(words.count) else { return nil }
        return words.map { String(decoding: $0, as: UTF8.self) }
    }
}

extension String {
    /// The text without spaces, tabs and carriage returns at both ends.
    fileprivate var withoutEnds: String {
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }
        guard let first = utf8.firstIndex(where: { !isSpace($0) }), let last = utf8.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(utf8[first...last]) ?? ""
    }
}
