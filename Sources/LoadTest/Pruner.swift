// Prunes images by pattern through admin requests, one at a time.

import Registry

final class Pruner: AnswerHandler {
    /// The server keeps a manifest that it is still writing to disk: the request is retried this often, this far apart.
    private static let mostTries = 50
    private static let pauseMilliseconds: UInt64 = 100

    enum Outcome: Equatable {
        case pruned
        /// This many matching images remain.
        case kept(Int)
        case refused(String)
    }

    private let connection: ClientConnection
    private let authority: String
    private let loop: EventLoop
    private var tries = 0
    private var queue: [(pattern: String, then: (Outcome) -> Void)] = []
    /// The outstanding request.
    private var request = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    init(on loop: EventLoop, _ connection: ClientConnection, authority: String) {
        self.loop = loop
        self.connection = connection
        self.authority = authority
    }

    /// Prunes every image whose name matches.
    func prune(_ pattern: String, then: @escaping (Outcome) -> Void) {
        queue.append((pattern, then))
        if queue.count == 1 { ask() }
    }

    private func ask() {
        guard let pattern = queue.first?.pattern else { return }
        let target = AdminCommand.prune(.init(.pattern(pattern), limit: nil, isDryRun: false)).request
        let text = "\(target.method) \(target.target) HTTP/1.1\r\nHost: \(authority)\r\n\r\n"
        request = .allocate(byteCount: text.utf8.count, alignment: 1)
        request.copyBytes(from: text.utf8)
        connection.ask(UnsafeRawBufferPointer(request), keepsBody: true, handler: self)
    }

    func answered(status: Int, sizeBytes: Int, body: [UInt8]) {
        let text = String(decoding: body, as: UTF8.self)
        guard status == 200 else { return end(.refused("status \(status): \(text)")) }
        let kept = text.split(separator: "\n").count { $0.hasPrefix("skipped ") }
        guard kept > 0 else { return end(.pruned) }
        tries += 1
        if tries < Pruner.mostTries { askLater() } else { end(.kept(kept)) }
    }

    private func askLater() {
        request.deallocate()
        var timer: Timer?
        timer = Timer(on: loop) { [self] in
            timer?.close()
            timer = nil
            ask()
        }
        timer?.start(afterMilliseconds: Pruner.pauseMilliseconds)
    }

    func failed(_ reason: String) { end(.refused(reason)) }

    private func end(_ outcome: Outcome) {
        request.deallocate()
        tries = 0
        let (_, then) = queue.removeFirst()
        ask()
        then(outcome)
    }
}
