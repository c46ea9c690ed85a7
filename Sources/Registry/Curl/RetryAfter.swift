// When an upstream allows the next request (`Retry-After`).

internal import CCurl
internal import OCI

/// `Retry-After` (RFC 9110 §10.2.3).
package enum RetryAfter {
    /// Seconds from now; nil when the value is neither a number nor a date. A date in the past is 0.
    package static func seconds(_ value: String, unixSeconds: Int64) -> Int? {
        let text = value.trimmed
        if let seconds = OutsideNumber.decimal(text, clampedTo: 0...Int(Int32.max)) { return seconds }
        return date(text).map { Int(clamping: max(0, $0.subtractingSaturated(unixSeconds))) }
    }

    /// Any of the three forms of a date (RFC 9110 §5.6.7), as seconds since 1970. Source: curl_getdate(3).
    static func date(_ text: String) -> Int64? {
        let seconds = Int64(curl_getdate(text, nil))
        return seconds < 0 ? nil : seconds
    }
}

extension UpstreamHead {
    /// Its `Retry-After` in seconds from now.
    package func retryAfter(unixSeconds: Int64) -> Int? {
        fields.first("retry-after").flatMap { RetryAfter.seconds($0, unixSeconds: unixSeconds) }
    }
}
