// The admin listeners of a running server: the Unix socket beside the store's lock, and the TCP port `adminListen`.
// Admin requests on the serving port also use `endpoint`, which refuses them unless `adminOnServingPort` is set.

import Configuration
import Logging
import Registry

final class AdminListeners {
    /// Descriptor limit of each listener, twice its number of connections; the kernel's limit is kept for clients.
    private static let descriptors = 64

    let endpoint: AdminEndpoint
    private let jobs: AdminJobs
    private let socketPath: String
    private let socketServer: Server
    private let portServer: (server: Server, point: ListenPoint)?
    private let logger: Logger

    /// - Parameters:
    ///   - context: what admin load jobs need.
    ///   - stop: stops the server.
    init(
        config: Config, context: LoadContext, logger: Logger, stop: @escaping (String) -> Void
    ) throws {
        self.logger = logger
        let (loop, offload) = (context.loop, context.offload)
        jobs = AdminJobs(context, isAirGapped: config.airGapped, logger: logger)
        socketPath = Store.adminSocket(imagePath: config.imagePath)
        let queries = AdminQueries(store: context.store, ignoresLeases: false)
        let endpoint = AdminEndpoint(queries: queries, jobs: jobs, logger: logger, stop: stop)
        self.endpoint = endpoint
        func server(_ access: AdminAccess) -> Server {
            Server(on: loop, offload: offload, logger: logger, descriptorLimit: AdminListeners.descriptors) {
                endpoint.handle($0, $1, $2, access)
            }
        }
        socketServer = server(.socket)
        portServer = try config.adminListen.map {
            (server(try AdminAccess.listener(host: $0.host, token: config.adminToken)), $0)
        }
    }

    /// - Returns: the bound address of the admin port; nil without `adminListen`.
    func open() throws -> String? {
        do throws(LoopError) {
            try socketServer.listen(unixSocket: socketPath)
        } catch {
            // Some file systems do not support sockets; the server still serves images there.
            logger.error("no socket for administration: \(socketPath): \(error)")
        }
        return try portServer.map { try $0.server.listen(host: $0.point.host, port: $0.point.port).text }
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
