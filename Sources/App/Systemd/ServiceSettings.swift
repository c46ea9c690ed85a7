// What systemd asks of this process, from its environment: where to send messages, and how often (sd_notify(3),
// sd_watchdog_enabled(3)).

import Glibc
import OCI
import Registry

/// Where the service manager listens, and its watchdog's time.
struct ServiceSettings: Sendable {
    /// The socket of NOTIFY_SOCKET; nil without a service manager.
    let socket: NotifySocket?
    /// The interval of watchdog messages: half of the time after which the manager ends a silent service. Nil without a
    /// watchdog.
    let pingMilliseconds: UInt64?
    /// Variables that cannot be used, each with the reason. The server runs without what they ask for.
    let problems: [String]

    private static let variables = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]

    /// Reads the variables and removes them: programs that this process starts must not send messages for it. Must be
    /// called before the first thread is started.
    static func take() -> ServiceSettings {
        let settings = ServiceSettings(environment: Environment.value, processID: getpid())
        for name in variables { unsetenv(name) }
        return settings
    }

    init(environment variable: (String) -> String?, processID: pid_t) {
        var problems: [String] = []
        socket = variable("NOTIFY_SOCKET").flatMap { text in
            if let socket = NotifySocket(text) { return socket }
            problems.append(
                "NOTIFY_SOCKET: must be an absolute path or @NAME, of at most \(NotifySocket.maximumBytes) bytes; "
                    + "the service manager gets no messages")
            return nil
        }
        do throws(Problem) {
            pingMilliseconds = try ServiceSettings.ping(variable, processID)
        } catch {
            pingMilliseconds = nil
            problems.append("\(error.text); the watchdog gets no messages")
        }
        self.problems = problems
    }

    private struct Problem: Error { let text: String }

    private static func ping(_ variable: (String) -> String?, _ processID: pid_t) throws(Problem) -> UInt64? {
        guard let text = variable("WATCHDOG_USEC") else { return nil }
        if let owner = variable("WATCHDOG_PID") {
            guard let id = OutsideNumber.decimal(owner, in: 1...pid_t.max) else {
                throw Problem(text: "WATCHDOG_PID: must be a process id")
            }
            guard id == processID else { return nil }
        }
        guard let microseconds: UInt64 = OutsideNumber.decimal(text, in: 1...UInt64.max) else {
            throw Problem(text: "WATCHDOG_USEC: must be a number of microseconds above 0")
        }
        return max(1, microseconds / 2 / 1000)
    }
}

/// The address of the service manager's datagram socket.
struct NotifySocket: Sendable {
    /// `sun_path` without the zero that ends a path or begins an abstract name (unix(7)).
    static let maximumBytes = 107

    private let bytes: [UInt8]

    /// - Parameter text: a path, or `@` and an abstract name. Nil for other values, such as the vsock addresses of
    ///   virtual machines.
    init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count > 1, bytes.count <= NotifySocket.maximumBytes else { return nil }
        switch bytes.first {
        case UInt8(ascii: "/"): self.bytes = bytes + [0]
        case UInt8(ascii: "@"): self.bytes = [0] + bytes.dropFirst()
        default: return nil
        }
    }

    /// A socket to send from; negative when none can be made.
    static func open() -> Int32 {
        let kind = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        return socket(AF_UNIX, kind, 0)
    }

    /// Sends one datagram without waiting.
    /// - Returns: 0, or the error number.
    func send(_ message: [UInt8], from descriptor: Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let length = MemoryLayout<sa_family_t>.size + bytes.count
        let flags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
        let count = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, message, message.count, flags, $0, socklen_t(clamping: length))
            }
        }
        return count < 0 ? errno : 0
    }
}
