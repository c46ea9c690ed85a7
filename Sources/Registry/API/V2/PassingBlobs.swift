// Blobs that pass through because the cache has no room: their ranges, and the field that marks their responses.

internal import OCI

extension API {
    /// The range that is requested from the upstream as it is when the blob is not kept: one with an end, that is not
    /// the whole, which would not be verified then.
    func rangeToPass(_ owned: OwnedRequest, _ digest: Digest, _ sizeBytes: Int64) -> ClosedRange<Int64>? {
        guard !owned.conditions.isOpenEnded,
            case .part(let range) = owned.conditions.plan(digest: digest, sizeBytes: sizeBytes),
            range.lowerBound > 0 || range.upperBound.addingSaturated(1) < sizeBytes
        else { return nil }
        return range
    }

    /// Passes a range of a blob that the cache has no room for. From an upstream without ranges, the range is taken
    /// from the whole blob as it passes.
    func passRange(
        _ pending: PendingResponse, _ range: ClosedRange<Int64>, _ digest: Digest, _ sizeBytes: Int64,
        _ owned: OwnedRequest
    ) {
        let whole: () -> Void = { [self] in
            guard !pending.isAnswered else { return }
            guard let growing = puller.startPassing(digest, from: owned.source) else {
                return pending.answer {
                    $0.respond(.unavailable("the cache has no room, and too many blobs pass through"))
                }
            }
            growing.whenAnswered { [self] in
                follow(pending, growing, digest, owned, .bypass, relaysRanges: false)
            }
        }
        guard let relayed = puller.passRange(range, of: digest, sizeBytes: sizeBytes, from: owned.source) else {
            return whole()
        }
        relayed.whenAnswered { [self] in
            if case .failed(let error) = relayed.phase, error.upstreamStatus == nil { return whole() }
            follow(pending, relayed, digest, owned, .bypass, relaysRanges: false)
        }
    }

    func markPassing(_ connection: Connection, _ growing: GrowingBlob) {
        guard growing.window != nil, !connection.extraField.suffix(API.bypassField.count).elementsEqual(API.bypassField)
        else { return }
        connection.extraField += API.bypassField
    }

    private static let bypassField = Array("X-Ociregistry-Cache: bypass\r\n".utf8)
}
