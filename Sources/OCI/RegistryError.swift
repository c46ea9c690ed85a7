// The one error type of responses: every error that a client sees is one of these values.

/// An error as clients see it: a status and the specification's JSON body.
///
/// Source: distribution-spec 1.1, "Error Codes".
package struct RegistryError: Error, Sendable, Equatable {
    /// The specification's codes, and `UNAVAILABLE` and `UNKNOWN`, which other registries use where it defines none.
    package enum Code: String, Sendable {
        case blobUnknown = "BLOB_UNKNOWN"
        case manifestUnknown = "MANIFEST_UNKNOWN"
        case manifestInvalid = "MANIFEST_INVALID"
        case nameUnknown = "NAME_UNKNOWN"
        case nameInvalid = "NAME_INVALID"
        case digestInvalid = "DIGEST_INVALID"
        case tagInvalid = "TAG_INVALID"
        case sizeInvalid = "SIZE_INVALID"
        case denied = "DENIED"
        case unsupported = "UNSUPPORTED"
        case tooManyRequests = "TOOMANYREQUESTS"
        case unavailable = "UNAVAILABLE"
        case unknown = "UNKNOWN"
    }

    package var status: Int
    package var code: Code
    package var message: String
    package var detail: String?
    /// The message for the log and for operators, where it says more than clients may know; nil: `message`.
    package var internalMessage: String?
    /// The value of the `Retry-After` field.
    package var retryAfterSeconds: Int?
    /// The status of the upstream's answer that this error stands for; nil where it stands for something else.
    package var upstreamStatus: Int?
    /// Whether the upstream's answer has a text or a web page as its body, which registries do not send.
    package var isTextAnswer = false

    package init(
        status: Int, code: Code, message: String, detail: String? = nil, retryAfterSeconds: Int? = nil
    ) {
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.retryAfterSeconds = retryAfterSeconds
    }

    /// The message for the log and for operators.
    package var operatorMessage: String { internalMessage ?? message }

    /// The upstream sent an invalid manifest.
    package static func badManifest(_ reason: String) -> RegistryError {
        RegistryError(status: 502, code: .manifestInvalid, message: reason)
    }

    /// The request is valid, but the content is not available now.
    /// - Parameter retryAfterSeconds: the time that the upstream stated. For its own failures this server states none:
    ///   it knows none, and some clients wait that long several times instead of asking another mirror.
    package static func unavailable(_ reason: String, retryAfterSeconds: Int? = nil) -> RegistryError {
        RegistryError(status: 503, code: .unavailable, message: reason, retryAfterSeconds: retryAfterSeconds)
    }

    package static func manifestUnknown(_ what: String) -> RegistryError {
        RegistryError(status: 404, code: .manifestUnknown, message: "manifest unknown", detail: what)
    }

    package static func blobUnknown(_ what: String) -> RegistryError {
        RegistryError(status: 404, code: .blobUnknown, message: "blob unknown", detail: what)
    }

    /// The error in one line, as text for people.
    package var reason: String { operatorMessage + (detail.map { ": \($0)" } ?? "") }

    /// The JSON body: `{"errors":[{"code":…,"message":…,"detail":…}]}`.
    package var json: [UInt8] {
        var text = "{\"errors\":[{\"code\":\"\(code.rawValue)\",\"message\":\(RegistryError.quoted(message))"
        if let detail { text += ",\"detail\":\(RegistryError.quoted(detail))" }
        text += "}]}\n"
        return Array(text.utf8)
    }

    /// A JSON string (RFC 8259 §7): quotes, backslashes and control characters escaped.
    package static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let hex = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - hex.utf8.count) + hex
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
