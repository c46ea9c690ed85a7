// Reloads of the configuration, by SIGHUP or by `ociregistry reload`: one at a time, read off the loop and applied in
// one step on it.

import Configuration
import Logging
import Registry

/// Runs the reloads of a server. Must be used on the loop only.
final class Reloader {
    typealias Outcome = Result<ConfigChanges, ConfigError>

    private let offload: Offload
    private let logger: Logger
    private let metrics: Metrics
    private let prepare: @Sendable (_ running: Config) throws -> PreparedReload
    private let running: () -> Config
    private let apply: (PreparedReload) -> Void
    private var isReading = false
    /// Whether a reload was requested while the file was being read: the file may have been changed after that.
    private var isWanted = false
    /// The commands that wait for the next reload. The listeners' limits of connections bound them.
    private var waiting: [(Outcome) -> Void] = []
    /// Called when the reading of the file begins, and with each outcome before those that wait for it get it.
    var onStart: () -> Void = {}
    var onEnd: (Outcome) -> Void = { _ in }
    /// Whether the server is stopping, so that nothing is applied any more.
    var isStopping = false

    /// - Parameters:
    ///   - prepare: reads and checks the configuration; called on a thread of the pool.
    ///   - running: the configuration in use.
    ///   - apply: puts a checked configuration into use.
    init(
        offload: Offload, logger: Logger, metrics: Metrics,
        prepare: @escaping @Sendable (_ running: Config) throws -> PreparedReload, running: @escaping () -> Config,
        apply: @escaping (PreparedReload) -> Void
    ) {
        self.offload = offload
        self.logger = logger
        self.metrics = metrics
        self.prepare = prepare
        self.running = running
        self.apply = apply
        // The server starts with a configuration that has been checked.
        loaded()
    }

    private func loaded() {
        metrics.configLoads.hasLastLoadSucceeded = true
        metrics.configLoads.lastSuccessSeconds = EventLoop.unixSeconds
    }

    /// Reads the configuration again. A file with a problem leaves the running configuration in place.
    /// - Parameter then: gets the outcome of a reload that began after this call.
    func reload(then: ((Outcome) -> Void)? = nil) {
        if let then { waiting.append(then) }
        guard !isReading else { return isWanted = true }
        isReading = true
        isWanted = false
        let callers = waiting
        waiting = []
        onStart()
        let (prepare, running) = (prepare, running())
        offload.run {
            try prepare(running)
        } then: { [self] (result: Result<PreparedReload, any Error>) in
            isReading = false
            let outcome = end(result)
            onEnd(outcome)
            for then in callers { then(outcome) }
            if isWanted { reload() }
        }
    }

    private func end(_ result: Result<PreparedReload, any Error>) -> Outcome {
        guard !isStopping else {
            (try? result.get())?.log?.close()
            return .failure(Reloader.refusal("the server is stopping"))
        }
        switch result {
        case .success(let prepared):
            apply(prepared)
            loaded()
            log(prepared.changes)
            return .success(prepared.changes)
        case .failure(let error):
            metrics.configLoads.hasLastLoadSucceeded = false
            // The pool refuses jobs only when the process is ending.
            let failure = error as? ConfigError ?? Reloader.refusal("\(error)")
            for problem in failure.problems {
                logger.error("the configuration was not reloaded", metadata: ["reason": "\(problem)"])
            }
            return .failure(failure)
        }
    }

    private func log(_ changes: ConfigChanges) {
        var metadata: Logger.Metadata = [:]
        if !changes.used.isEmpty { metadata["changed"] = "\(changes.used.joined(separator: " "))" }
        if !changes.needRestart.isEmpty { metadata["needs_restart"] = "\(changes.needRestart.joined(separator: " "))" }
        logger.warning("the configuration was reloaded", metadata: metadata)
    }

    private static func refusal(_ reason: String) -> ConfigError {
        ConfigError(problems: [.init(file: "reload", line: nil, key: "", reason: reason)])
    }
}
