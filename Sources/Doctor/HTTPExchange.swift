// One blocking HTTP request: to the mirror, or over a runtime's Unix socket. A command may wait, so this needs no loop.

internal import CCurl
internal import Glibc

/// A request.
struct HTTPRequest {
    var url: String
    var method = "GET"
    var fields: [String] = []
    var body: [UInt8] = []
    /// The Unix socket to connect to in place of the URL's host.
    var socket: String?
    /// Whether HTTP/2 is spoken from the first byte, as gRPC does without TLS.
    var isHTTP2 = false
    /// A file of certificate authorities, in place of the system's.
    var authorities: String?
    var milliseconds = 10_000
    /// The largest body accepted.
    var maximumBytes = 4 * 1024 * 1024

    init(_ url: String) { self.url = url }
}

/// A response. The fields include trailers; names are in lower case.
struct HTTPResponse {
    var status = 0
    var fields: [(name: String, value: String)] = []
    var body: [UInt8] = []
    var milliseconds = 0

    func field(_ name: String) -> String? { fields.last { $0.name == name }?.value }
    var text: String { String(decoding: body, as: UTF8.self) }
}

/// Why there is no response.
struct HTTPFailure: Error, Equatable {
    enum Kind: Equatable { case nameUnknown, refused, timedOut, untrusted, notTLS, broken }

    let kind: Kind
    /// libcurl's text.
    let reason: String
}

enum HTTPExchange {
    /// Longest time for a connection.
    private static let connectMilliseconds = 5_000

    static func perform(_ request: HTTPRequest) throws(HTTPFailure) -> HTTPResponse {
        // libcurl may use these until the handle is closed, so they are released after it.
        let collector = Unmanaged.passRetained(Collector(maximumBytes: request.maximumBytes))
        defer { collector.release() }
        let errors = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
        errors.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
        defer { errors.deallocate() }
        var list: UnsafeMutablePointer<curl_slist>?
        for line in request.fields { list = curl_slist_append(list, line) }
        defer { curl_slist_free_all(list) }
        guard let easy = curl_easy_init() else { throw HTTPFailure(kind: .broken, reason: "curl cannot be set up") }
        defer { curl_easy_cleanup(easy) }
        ccurl_set_pointer(easy, CURLOPT_ERRORBUFFER, errors)
        ccurl_set_list(easy, CURLOPT_HTTPHEADER, list)
        setNumbers(request, easy)
        setTexts(request, easy)
        ccurl_set_pointer(easy, CURLOPT_WRITEDATA, collector.toOpaque())
        ccurl_set_pointer(easy, CURLOPT_HEADERDATA, collector.toOpaque())
        ccurl_set_write(easy, CURLOPT_WRITEFUNCTION) { bytes, size, count, context in
            Collector.at(context)?.body(bytes, size &* count) ?? 0
        }
        ccurl_set_write(easy, CURLOPT_HEADERFUNCTION) { bytes, size, count, context in
            Collector.at(context)?.line(bytes, size &* count) ?? 0
        }
        let code = curl_easy_perform(easy)
        guard code == CURLE_OK else {
            let text = String(cString: errors)
            throw HTTPFailure(
                kind: kind(code, text), reason: text.isEmpty ? String(cString: curl_easy_strerror(code)) : text)
        }
        var status = 0
        ccurl_get_long(easy, CURLINFO_RESPONSE_CODE, &status)
        var response = collector.takeUnretainedValue().response
        response.status = status
        return response
    }

    private static func setNumbers(_ request: HTTPRequest, _ easy: UnsafeMutableRawPointer) {
        let version = request.isHTTP2 ? Int(CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE) : Int(CURL_HTTP_VERSION_1_1)
        let numbers: [(CURLoption, Int)] = [
            (CURLOPT_NOSIGNAL, 1), (CURLOPT_FOLLOWLOCATION, 0), (CURLOPT_TIMEOUT_MS, request.milliseconds),
            (CURLOPT_CONNECTTIMEOUT_MS, min(request.milliseconds, connectMilliseconds)),
            (CURLOPT_HTTP_VERSION, version), (CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2)),
        ]
        for (option, value) in numbers { ccurl_set_long(easy, option, value) }
        guard request.method == "POST" || request.method == "DELETE" else { return }
        if request.method == "POST" {
            ccurl_set_long(easy, CURLOPT_POSTFIELDSIZE, request.body.count)
            _ = request.body.withUnsafeBytes { bytes in
                bytes.baseAddress.map {
                    ccurl_set_pointer(easy, CURLOPT_COPYPOSTFIELDS, UnsafeMutableRawPointer(mutating: $0))
                } ?? ccurl_set_string(easy, CURLOPT_COPYPOSTFIELDS, "")
            }
        }
        ccurl_set_string(easy, CURLOPT_CUSTOMREQUEST, request.method)
    }

    private static func setTexts(_ request: HTTPRequest, _ easy: UnsafeMutableRawPointer) {
        // No proxy, whatever the environment says: a mirror is reached directly.
        for (option, text) in [
            (CURLOPT_URL, request.url), (CURLOPT_PROTOCOLS_STR, "http,https"), (CURLOPT_PROXY, ""),
            (CURLOPT_USERAGENT, "ociregistry-doctor"),
        ] {
            ccurl_set_string(easy, option, text)
        }
        if let socket = request.socket { ccurl_set_string(easy, CURLOPT_UNIX_SOCKET_PATH, socket) }
        if let file = request.authorities { ccurl_set_string(easy, CURLOPT_CAINFO, file) }
    }

    private static func kind(_ code: CURLcode, _ text: String) -> HTTPFailure.Kind {
        switch code {
        case CURLE_COULDNT_RESOLVE_HOST: .nameUnknown
        case CURLE_COULDNT_CONNECT: .refused
        case CURLE_OPERATION_TIMEDOUT: .timedOut
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE: .untrusted
        case CURLE_SSL_CONNECT_ERROR: .notTLS
        default: .broken
        }
    }
}

/// Collects a response from curl's callbacks.
private final class Collector {
    /// Field lines of a response; a longer one is cut off.
    private static let maximumFields = 256
    private static let maximumLineBytes = 8 * 1024

    var response = HTTPResponse()
    private let maximumBytes: Int

    init(maximumBytes: Int) { self.maximumBytes = maximumBytes }

    static func at(_ context: UnsafeMutableRawPointer?) -> Collector? {
        context.map { Unmanaged<Collector>.fromOpaque($0).takeUnretainedValue() }
    }

    func body(_ bytes: UnsafeMutablePointer<CChar>?, _ count: Int) -> Int {
        guard response.body.count + count <= maximumBytes else { return 0 }
        response.body.append(contentsOf: UnsafeRawBufferPointer(start: bytes, count: count))
        return count
    }

    func line(_ bytes: UnsafeMutablePointer<CChar>?, _ count: Int) -> Int {
        let raw = UnsafeRawBufferPointer(start: bytes, count: count)
        guard raw.count <= Collector.maximumLineBytes, response.fields.count < Collector.maximumFields,
            let colon = raw.firstIndex(of: 0x3A)
        else { return count }
        func text(_ part: Slice<UnsafeRawBufferPointer>) -> String {
            let all = String(decoding: part, as: UTF8.self)
            return String(all.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
        }
        response.fields.append((text(raw[..<colon]).lowercased(), text(raw[(colon + 1)...])))
        return count
    }
}
