// How the sub-commands reach a cache: through the socket of the server that runs on it, or, when none runs, by opening
// the store themselves, under its lock. Either way the same commands give the same answers.

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

    /// The answer on standard output, and all of it, whatever that is.
    static func print(_ text: [UInt8]) { LogFile.writeToStandardOutput(text) }
}

/// A store without a server, for the length of one command.
private struct Unattended {
    let config: Config

    func answer(_ command: AdminCommand, asJSON: Bool) throws -> [UInt8] {
        guard access(config.imagePath, F_OK) == 0 else {
            throw Failure(description: "\(config.imagePath): no cache is there")
        }
        let log = try config.openLog()
        defer { log.close() }
        let logger = Logger(label: "ociregistry") { _ in LineLogHandler(writer: log, level: config.logLevel) }
        let loop = try EventLoop()
        let offload = Offload(on: loop)
        let store = try Store.open(imagePath: config.imagePath, loop: loop, offload: offload, logger: logger)
        let desk = AdminQueries(store: store, ignoresLeases: true)
        var answer: Result<[UInt8], RegistryError>?
        store.startRecovery { report in
            guard report.isComplete else {
                answer = .failure(.unavailable("the cache cannot be read; the log says why"))
                return store.close { loop.stop() }
            }
            desk.answer(command, asJSON: asJSON) { result in
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

/// Why a command did not come to its end.
struct Failure: Error, CustomStringConvertible {
    let description: String
}
