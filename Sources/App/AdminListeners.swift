// The admin listeners of a running server: the Unix socket beside the store's lock, and the TCP port `adminListen`.
// Admin requests on the serving port also use `endpoint`, which refuses them unless `adminOnServingPort` is set.

import Configuration
import Logging
import Registry

/// A value that a closure reads and its owner changes.
private final class Box<Value> {
    var value: Value

    init(_ value: Value) { self.value = value }
}

final class AdminListeners {
    /// Descriptor limit of each listener, twice its number of connections; the kernel's limit is kept for clients.
    private static let descriptors = 64

    let endpoint: AdminEndpoint
    private let jobs: AdminJobs
    private let socketPath: String
    private let socketServer: Server
    private let portServer: (server: Server, point: ListenPoint)?
    /// The access rule of `adminListen`.
    private let portAccess: Box<AdminAccess>
    private let logger: Logger

    /// - Parameters:
    ///   - context: what admin load jobs need.
    ///   - stop: stops the server.
    ///   - reload: reloads its configuration.
    init(
        settings: ServerSettings, context: LoadContext, logger: Logger, stop: @escaping (String) -> Void,
        reload: @escaping AdminEndpoint.Reload
    ) {
        self.logger = logger
        let config = settings.config
        let (loop, offload) = (context.loop, context.offload)
        jobs = AdminJobs(context, isAirGapped: config.airGapped, logger: logger)
        socketPath = Store.adminSocket(imagePath: config.imagePath)
        let queries = AdminQueries(store: context.store, ignoresLeases: false) { [tags = context.tags] in
            tags.policies
        }
        let endpoint = AdminEndpoint(queries: queries, jobs: jobs, logger: logger, stop: stop, reload: reload)
        self.endpoint = endpoint
        let portAccess = Box(settings.listenerAccess ?? .closed)
        self.portAccess = portAccess
        func server(_ access: @escaping () -> AdminAccess) -> Server {
            Server(on: loop, offload: offload, logger: logger, descriptorLimit: AdminListeners.descriptors) {
                endpoint.handle($0, $1, $2, access())
            }
        }
        socketServer = server { .socket }
        portServer = config.adminListen.map { (server { portAccess.value }, $0) }
    }

    /// Takes other settings, for the requests that arrive from now on.
    func reload(_ settings: ServerSettings) {
        portAccess.value = settings.listenerAccess ?? .closed
        jobs.isAirGapped = settings.config.airGapped
        for server in [socketServer, portServer?.server] { server?.log(to: logger) }
    }

    /// - Parameter passed: sockets that take the place of the address of `adminListen`.
    /// - Returns: the bound address of the admin port; nil without `adminListen`.
    func open(_ passed: [ListeningSocket]) throws -> String? {
        do throws(LoopError) {
            try socketServer.listen(unixSocket: socketPath)
        } catch {
            // Some file systems do not support sockets; the server still serves images there.
            logger.error("no socket for administration: \(socketPath): \(error)")
        }
        return try portServer.map { try $0.server.listen(passed, host: $0.point.host, port: $0.point.port) }
    }

    /// Stops running admin jobs, and calls `then` after their last events are sent.
    func finish(then: @escaping () -> Void) { jobs.stop(then: then) }

    /// Closes both listeners before the store releases its lock: the next server creates a socket of the same name.
    func close() {
        for server in [socketServer, portServer?.server] {
            server?.drain {}
            server?.closeAll()
        }
    }
}
