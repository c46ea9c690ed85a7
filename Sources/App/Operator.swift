// How sub-commands reach a cache: through the admin socket of a running server or, without one, by opening the store
// under its lock. Both ways give the same answers.

import ArgumentParser
import Configuration
import Glibc
import Logging
import OCI
import Registry

struct Operator {
    let config: Config

    /// Carries out a command and returns the answer's text.
    func ask(_ command: AdminCommand, asJSON: Bool) throws -> [UInt8] {
        do {
            let path = Store.adminSocket(imagePath: config.imagePath)
            if let answer = try AdminClient.ask(command, asJSON: asJSON, socket: path) { return answer }
            return try Unattended(config: config).answer(command, asJSON: asJSON)
        } catch {
            throw StartFailure.report("\(error)", ExitCode.failure)
        }
    }

    /// Writes the whole response to standard output.
    static func print(_ text: [UInt8]) { LogFile.writeToStandardOutput(text) }
}

/// Answers one command from a store that is opened without a server.
private struct Unattended {
    let config: Config

    func answer(_ command: AdminCommand, asJSON: Bool) throws -> [UInt8] {
        guard access(config.imagePath, F_OK) == 0 else {
            throw Failure(description: "\(config.imagePath): no cache is there")
        }
        let log = try config.openLog()
        defer { log.close() }
        let logger = Logger(label: "ociregistry") { _ in LineLogHandler(writer: log) }
        let loop = try EventLoop()
        let offload = Offload(on: loop)
        let store = try Store.open(imagePath: config.imagePath, loop: loop, offload: offload, logger: logger)
        let policies = config.tags
        store.keepsLedger = true
        let queries = AdminQueries(store: store, ignoresLeases: true) { policies }
        var answer: Result<[UInt8], RegistryError>?
        store.startRecovery { report in
            guard report.isComplete else {
                answer = .failure(.unavailable("the cache cannot be read; the log says why"))
                return store.close { loop.stop() }
            }
            queries.answer(command, asJSON: asJSON) { result in
                answer = result
                store.close { loop.stop() }
            }
        }
        loop.run()
        switch answer {
        case .success(let text): return text
        case .failure(let error): throw Failure(description: error.message)
        case nil: throw Failure(description: "the cache has not answered")
        }
    }
}

/// Why a command failed.
struct Failure: Error, CustomStringConvertible {
    let description: String
}
