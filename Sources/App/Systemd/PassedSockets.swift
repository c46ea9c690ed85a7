// Socket activation: the listening sockets that systemd opens and passes to the service. They outlive the process, so
// connections that arrive during a restart wait in them.

import Configuration
import Glibc
import OCI
import Registry

/// The sockets passed to this process: the descriptors from 3 on, as many as LISTEN_FDS says, with the names of
/// LISTEN_FDNAMES (sd_listen_fds(3), `FileDescriptorName=` in systemd.socket(5)).
struct PassedSockets: Sendable {
    /// What a socket is for. The raw value is its name.
    enum Use: String, CaseIterable, Sendable { case serving = "http", metrics, health, admin }

    /// Most sockets accepted: four uses with some addresses each.
    static let maximumCount = 64
    /// SD_LISTEN_FDS_START of sd_listen_fds(3).
    static let firstDescriptor: Int32 = 3
    /// Further names of the serving socket. The second is systemd's default, the name of the unit.
    private static let servingNames = ["ociregistry", "ociregistry.socket"]
    /// LISTEN_PIDFDID is from systemd 258; LISTEN_PID says enough here.
    private static let variables = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"]

    private let sockets: [(use: Use, socket: ListeningSocket)]

    static let none = PassedSockets([])

    private init(_ sockets: [(use: Use, socket: ListeningSocket)]) { self.sockets = sockets }

    /// The sockets passed to this process. The variables are removed, since they do not concern programs that this
    /// process starts. Must be called before the first thread is started.
    /// - Throws: when a variable is wrong, or a descriptor cannot be used.
    static func take() throws(Refusal) -> PassedSockets {
        let passed = try PassedSockets(environment: Environment.value, processID: getpid())
        for name in variables { unsetenv(name) }
        return passed
    }

    /// - Parameter first: the number of the first descriptor.
    init(
        environment variable: (String) -> String?, processID: pid_t, first: Int32 = firstDescriptor
    ) throws(Refusal) {
        guard let processText = variable("LISTEN_PID"), let countText = variable("LISTEN_FDS") else {
            self = .none
            return
        }
        guard let owner = OutsideNumber.decimal(processText, in: 1...pid_t.max) else {
            throw Refusal("LISTEN_PID: must be a process id, not \"\(PassedSockets.shown(processText))\"")
        }
        // The variables of another process, which this one has inherited.
        guard owner == processID else {
            self = .none
            return
        }
        guard let count = OutsideNumber.decimal(countText, in: 0...PassedSockets.maximumCount) else {
            throw Refusal(
                "LISTEN_FDS: must be a number up to \(PassedSockets.maximumCount), not "
                    + "\"\(PassedSockets.shown(countText))\"")
        }
        let names = variable("LISTEN_FDNAMES").map { $0.split(separator: ":", omittingEmptySubsequences: false) }
        if let names, names.count != count, count > 0 {
            throw Refusal("LISTEN_FDNAMES: has \(names.count) names for the \(count) sockets of LISTEN_FDS")
        }
        var sockets: [(use: Use, socket: ListeningSocket)] = []
        for index in 0..<count {
            let use = try PassedSockets.use(named: names.map { String($0[index]) })
            let descriptor = first + Int32(clamping: index)
            do throws(ListeningSocket.Unusable) {
                sockets.append((use, try ListeningSocket(descriptor: descriptor)))
            } catch {
                throw Refusal("LISTEN_FDS: descriptor \(descriptor), the socket \(use.rawValue), \(error)")
            }
        }
        self.sockets = sockets
    }

    /// - Parameter name: nil without LISTEN_FDNAMES.
    private static func use(named name: String?) throws(Refusal) -> Use {
        guard let name, !servingNames.contains(name) else { return .serving }
        guard let use = Use(rawValue: name) else {
            let known = (Use.allCases.map(\.rawValue) + servingNames).joined(separator: ", ")
            throw Refusal(
                "LISTEN_FDNAMES: unknown name \"\(shown(name))\": FileDescriptorName= of the socket unit must be "
                    + "one of \(known)")
        }
        return use
    }

    /// The beginning of a value, for a message.
    private static func shown(_ text: String) -> String { String(text.prefix(64)) }

    var isEmpty: Bool { sockets.isEmpty }

    /// The sockets for one use.
    subscript(_ use: Use) -> [ListeningSocket] { sockets.filter { $0.use == use }.map(\.socket) }

    /// `http 0.0.0.0:8080, metrics 127.0.0.1:9090`
    var text: String { sockets.map { "\($0.use.rawValue) \($0.socket.text)" }.joined(separator: ", ") }

    /// Turns the listeners with passed sockets on, and takes their configured addresses out of the checks, since
    /// nothing binds them. The rule of `adminListen` holds for the address of the passed socket.
    func apply(to config: inout Config) {
        let anyPort: UInt16 = 0
        if !self[.serving].isEmpty { config.port = anyPort }
        if !self[.metrics].isEmpty { config.metricsPort = anyPort }
        if !self[.health].isEmpty { config.healthPort = anyPort }
        let hosts = self[.admin].map(\.host)
        let reachable = hosts.first { NetworkAddress(literal: $0)?.isLoopback != true }
        if let host = reachable ?? hosts.first { config.adminListen = ListenPoint(host: host, port: anyPort) }
    }
}

extension Server {
    /// Listens on the passed sockets or, when there are none, on the configured address.
    /// - Returns: the address, of the first passed socket if there are several.
    func listen(_ passed: [ListeningSocket], host: String, port: UInt16) throws(LoopError) -> String {
        guard let first = passed.first else { return try listen(host: host, port: port).text }
        try listen(on: passed)
        return first.text
    }
}
