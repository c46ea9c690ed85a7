// Messages to systemd about the state of this service (sd_notify(3)): ready, reloading, stopping, a status line, and
// proof for the watchdog that the loop runs.

import Configuration
import Glibc
import Logging
import Registry

/// Sends the messages. Without a service manager nothing is sent. Must be used on the loop only.
final class ServiceNotifier {
    /// Messages kept while the manager's socket is full. Their last one says the state, so the oldest goes first.
    static let maximumWaiting = 16
    /// Pause before they are sent again.
    static let retryMilliseconds: UInt64 = 100
    /// Pause between two readiness checks.
    static let checkMilliseconds: UInt64 = 1_000
    /// Longest value of a field, in bytes: `systemctl status` shows the status in one line.
    static let valueBytes = 300

    /// Reports why the server is not ready yet; nothing when it is.
    typealias Check = (@escaping (_ failures: [String]) -> Void) -> Void

    private let settings: ServiceSettings
    private let loop: EventLoop
    private let logger: Logger
    private var descriptor: Int32 = -1
    private var waiting: [[UInt8]] = []
    private var watchdogTimer: Timer?
    private var checkTimer: Timer?
    private var retryTimer: Timer?
    private var isReady = false
    private var isStopping = false
    private var isClosed = false
    private var hasFailed = false

    init(_ settings: ServiceSettings, on loop: EventLoop, logger: Logger) {
        self.settings = settings
        self.loop = loop
        self.logger = logger
        for problem in settings.problems { logger.warning("\(problem)") }
        guard settings.socket != nil else { return }
        descriptor = NotifySocket.open()
        startWatchdog()
    }

    /// A message each half of the watchdog's time. It goes the loop's own way, from a timer through the queue of
    /// deferred actions: a loop that hangs sends none.
    private func startWatchdog() {
        guard let interval = settings.pingMilliseconds else { return }
        let timer = Timer(on: loop) { [unowned self] in
            loop.deferred.enqueue { [self] in
                // One that does not fit into the socket is not kept: the next one says the same.
                _ = transmit(Array("WATCHDOG=1".utf8))
            }
        }
        timer.unreference()
        timer.start(afterMilliseconds: interval, everyMilliseconds: interval)
        watchdogTimer = timer
    }

    // MARK: States

    /// Reports that the server is ready as soon as `check` finds no failure, and the failures until then.
    func announce(_ status: String, when check: @escaping Check) {
        guard settings.socket != nil else { return }
        check { [self] failures in
            guard !isStopping, !isReady, !isClosed else { return }
            guard failures.isEmpty else {
                send(["STATUS": "waiting: \(failures.joined(separator: "; "))"])
                return checkAgain { [unowned self] in announce(status, when: check) }
            }
            isReady = true
            send(["READY": "1", "STATUS": status])
        }
    }

    private func checkAgain(_ action: @escaping () -> Void) {
        checkTimer?.close()
        let timer = Timer(on: loop, action)
        timer.unreference()
        timer.start(afterMilliseconds: ServiceNotifier.checkMilliseconds)
        checkTimer = timer
    }

    /// Reports that a reload has begun. Its end needs `reloaded`.
    func reloading() {
        guard isReady, !isStopping else { return }
        // From 253 on, systemd compares the time with that of its own request (sd_notify(3)).
        send(["RELOADING": "1", "MONOTONIC_USEC": "\(EventLoop.nowNanoseconds / 1000)"])
    }

    /// Reports the end of a reload. The service is ready after a refused one too: it runs with its former settings.
    func reloaded(_ outcome: Reloader.Outcome) {
        guard isReady, !isStopping else { return }
        let status =
            switch outcome {
            case .success: "the configuration was reloaded"
            case .failure(let error): "the configuration was not reloaded: \(error)"
            }
        send(["READY": "1", "STATUS": status])
    }

    func stopping(_ status: String) {
        guard !isStopping else { return }
        isStopping = true
        send(["STOPPING": "1", "STATUS": status])
    }

    func close() {
        isClosed = true
        for timer in [watchdogTimer, checkTimer, retryTimer] { timer?.close() }
        if descriptor >= 0 { Glibc.close(descriptor) }
        descriptor = -1
    }

    // MARK: Sending

    private func send(_ fields: KeyValuePairs<String, String>) {
        let lines = fields.map { name, value in
            // A line end would begin another field.
            let line = value.utf8.prefix(ServiceNotifier.valueBytes).map { $0 < 0x20 ? 0x20 : $0 }
            return "\(name)=\(String(decoding: line, as: UTF8.self))"
        }
        let message = Array(lines.joined(separator: "\n").utf8)
        guard waiting.isEmpty, transmit(message) else {
            if waiting.count == ServiceNotifier.maximumWaiting { waiting.removeFirst() }
            waiting.append(message)
            return sendAgainLater()
        }
    }

    private func sendAgainLater() {
        guard !isClosed else { return }
        let timer = retryTimer ?? Timer(on: loop) { [unowned self] in sendWaiting() }
        timer.unreference()
        retryTimer = timer
        timer.start(afterMilliseconds: ServiceNotifier.retryMilliseconds)
    }

    private func sendWaiting() {
        while let message = waiting.first {
            guard transmit(message) else { return sendAgainLater() }
            waiting.removeFirst()
        }
    }

    /// - Returns: false when the message must be sent again later, since the manager's socket is full.
    private func transmit(_ message: [UInt8]) -> Bool {
        guard descriptor >= 0, let socket = settings.socket else { return true }
        let code = socket.send(message, from: descriptor)
        if [EAGAIN, ENOBUFS, EINTR].contains(code) { return false }
        if code != 0, !hasFailed {
            hasFailed = true
            logger.warning(
                "the service manager cannot be reached (NOTIFY_SOCKET)",
                metadata: ["reason": "\(String(cString: strerror(code)))"])
        }
        return true
    }
}
