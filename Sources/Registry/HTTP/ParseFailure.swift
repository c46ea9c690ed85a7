// Every reason for refusing a request head, with its status. After a refusal the connection is closed, since the next
// bytes may not begin at a request.

package enum ParseFailure: UInt8, Error, Equatable, Sendable, CaseIterable {
    case requestLine, target, bareLineEnd, fieldName, fieldValue, foldedField
    case missingHost, repeatedHost, invalidHost
    case contentLength, repeatedContentLength, transferEncoding, bothLengths, repeatedRegistry
    case headTooLarge, tooManyFields
    /// The head is too large because of its Range field. Clients that pull partially take a 400 for "ask for fewer
    /// ranges", and give up after a 431.
    case rangeTooLong
    case unknownCoding, version

    package var status: Int {
        switch self {
        case .headTooLarge, .tooManyFields: 431
        case .unknownCoding: 501
        case .version: 505
        default: 400
        }
    }

    package var reason: StaticString {
        switch self {
        case .requestLine: "malformed request line"
        case .target: "invalid request target"
        case .bareLineEnd: "line not ended by CRLF"
        case .fieldName: "invalid header field name"
        case .fieldValue: "control character in a header field"
        case .foldedField: "folded header field"
        case .missingHost: "Host missing"
        case .repeatedHost: "Host sent more than once"
        case .invalidHost: "invalid Host"
        case .contentLength: "invalid Content-Length"
        case .repeatedContentLength: "Content-Length sent more than once"
        case .transferEncoding: "invalid Transfer-Encoding"
        case .bothLengths: "both Content-Length and Transfer-Encoding"
        case .repeatedRegistry: "X-Registry sent more than once"
        case .headTooLarge: "request head too large"
        case .rangeTooLong: "Range field too long"
        case .tooManyFields: "too many header fields"
        case .unknownCoding: "transfer coding not implemented"
        case .version: "HTTP version not supported"
        }
    }
}
