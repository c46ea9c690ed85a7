// The request of `healthcheck`, and what its response means.

import OCI
import Registry

/// Sends one GET request, within a time and for a body of a limited size.
final class HealthProbe: TransferHandler {
    /// Longest body accepted. The server's own answers have at most some lines.
    static let maximumBytes = 64 * 1024

    enum Outcome: Equatable {
        case answered(status: Int, body: [UInt8])
        /// There was no complete response; the text says why.
        case failed(String)
    }

    private let loop: EventLoop
    private var transfer: Transfer?
    private var status = 0
    private var body: [UInt8] = []
    private var outcome: Outcome?

    private init(_ loop: EventLoop) { self.loop = loop }

    /// Blocks until the response has been received or the time is over.
    static func get(_ url: UpstreamURL, withinMilliseconds limit: UInt64) throws -> Outcome {
        let loop = try EventLoop()
        defer { loop.close() }
        guard let multi = CurlMulti(on: loop) else { throw Failure(description: "libcurl cannot be set up") }
        defer { multi.close() }
        // Its operator has named the address, so every address is admitted.
        var request = TransferRequest(
            url: url, addresses: AddressGuard(hostIsConfigured: true), noProgressMilliseconds: limit)
        request.userAgent = "ociregistry/\(Version.text) healthcheck"
        let probe = HealthProbe(loop)
        let timer = Timer(on: loop) { probe.end(.failed("no complete response within \(limit) ms")) }
        defer { timer.close() }
        timer.start(afterMilliseconds: limit)
        probe.transfer = Transfer(request, on: multi, loop: loop, handler: probe)
        loop.run()
        probe.transfer?.cancel()
        return probe.outcome ?? .failed("no response")
    }

    private func end(_ outcome: Outcome) {
        if self.outcome == nil { self.outcome = outcome }
        loop.stop()
    }

    func transfer(_ transfer: Transfer, received head: UpstreamHead) {
        status = head.status
        // curl ignores a length that it cannot read.
        if let size = head.refusedSize { end(.failed("status \(status), with an invalid size: \(size)")) }
    }

    func transfer(_ transfer: Transfer, received bytes: UnsafeRawBufferPointer) -> Bool {
        guard body.count + bytes.count <= HealthProbe.maximumBytes else {
            end(.failed("status \(status), with a body of more than \(HealthProbe.maximumBytes) bytes"))
            // Nothing more is received.
            return false
        }
        body.append(contentsOf: bytes)
        return true
    }

    func transfer(_ transfer: Transfer, ended failure: TransferFailure?) {
        end(failure.map { .failed($0.reason) } ?? .answered(status: status, body: body))
    }
}

/// Whether a server is healthy, and one line that says why.
struct HealthResult: Equatable {
    /// Longest part of a body that is shown: docker keeps 4,096 bytes of a health check's output.
    static let shownBytes = 300

    let isHealthy: Bool
    let text: String
}

extension HealthResult {
    init(_ outcome: HealthProbe.Outcome, url: UpstreamURL) {
        switch outcome {
        case .answered(200, let body): self.init(isHealthy: true, text: HealthResult.line(url.text, body))
        case .answered(let status, let body):
            self.init(isHealthy: false, text: HealthResult.line("\(url.text): status \(status)", body))
        case .failed(let reason): self.init(isHealthy: false, text: HealthResult.line(url.text, Array(reason.utf8)))
        }
    }

    /// The lines of a body behind a text, as one line without control characters.
    private static func line(_ start: String, _ body: [UInt8]) -> String {
        let lines = body.prefix(shownBytes).split(separator: 0x0A).map { line in
            String(decoding: line.map { $0 < 0x20 || $0 == 0x7F ? 0x20 : $0 }, as: UTF8.self)
        }
        let shown = lines.joined(separator: "; ") + (body.count > shownBytes ? "…" : "")
        return shown.isEmpty ? start : "\(start): \(shown)"
    }
}
