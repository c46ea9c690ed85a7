// Where a running server listens to its operator: the Unix socket beside the store's lock, always, and a port of its
// own where `adminListen` asks for one. (The API refers requests on the serving port to `endpoint`, which refuses them
// unless `adminOnServingPort` is set.)

import Configuration
import Logging
import Registry

final class AdminListeners {
    /// Half of it are the connections that there may be on each; the kernel's limit is for clients.
    private static let descriptors = 64

    let endpoint: AdminEndpoint
    private let work: AdminJobs
    private let socketPath: String
    private let socketServer: Server
    private let portServer: (server: Server, point: ListenPoint)?
    private let logger: Logger

    /// - Parameters:
    ///   - context: what loading works with.
    ///   - stop: ends the server.
    init(
        config: Config, context: LoadContext, logger: Logger, stop: @escaping (String) -> Void
    ) throws {
        self.logger = logger
        let (loop, offload) = (context.loop, context.offload)
        work = AdminJobs(context, isAirGapped: config.airGapped, logger: logger)
        socketPath = Store.adminSocket(imagePath: config.imagePath)
        let desk = AdminQueries(store: context.store, ignoresLeases: false)
        let endpoint = AdminEndpoint(desk: desk, work: work, logger: logger, stop: stop)
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

    /// - Returns: the address of the port, where there is one.
    func open() throws -> String? {
        do throws(LoopError) {
            try socketServer.listen(unixSocket: socketPath)
        } catch {
            // Some file systems have no sockets. Serving images matters more than being asked about them.
            logger.error("no socket for administration: \(socketPath): \(error)")
        }
        return try portServer.map { try $0.server.listen(host: $0.point.host, port: $0.point.port).text }
    }

    /// Stops running admin jobs, and calls `then` when their last events are out.
    func finish(then: @escaping () -> Void) { work.stop(then: then) }

    /// Closes at once; before the store gives its lock back, since the next server will make a socket of that name.
    func close() {
        for server in [socketServer, portServer?.server] {
            server?.drain {}
            server?.closeAll()
        }
    }
}
